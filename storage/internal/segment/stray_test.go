package segment

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// TestCutRemovesSegmentsThatNeverFilled: a segment was begun, the disk was full,
// and a truncation below it came before there was room. Its file must not stay:
// the log grows past its name in the segment before, and the next Open would look
// for those records in it.
func TestCutRemovesSegmentsThatNeverFilled(t *testing.T) {
	for _, room := range []int64{0, 200, 400} { // for nothing, a header, two of them
		b := newBundle(t, vfs.NewMem(), 1<<20)
		require.NoError(t, b.l.Cut(txn.None))
		require.NoError(t, b.l.Append(frame(0, 10, 500)))
		require.NoError(t, b.l.Flush())
		b.l.c.Bytes = 4096 // full: the next frame begins a segment
		b.fs.SetSpace(b.fs.Used() + room)
		err := b.l.Append(frame(10, 10, 500))
		if err == nil {
			err = b.l.Flush()
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		b.fs.SetSpace(-1)

		b.l.c.Bytes = 1 << 20
		require.NoError(t, b.l.Cut(5))
		want := append(frame(0, 6, 500), frame(6, 20, 500)...)
		require.NoError(t, b.l.Append(frame(6, 20, 500)))
		require.NoError(t, b.l.Flush())
		require.NoError(t, b.l.Sync())
		require.NoError(t, b.l.Close())

		again := newBundle(t, b.fs, 1<<20)
		require.NoError(t, again.l.Cut(25))
		require.Equal(t, string(want), string(again.readAll(t, 25, 4096)))
		require.NoError(t, again.l.Close())
	}
}

// TestCutSegmentsDoNotComeBack: a process removes a segment and is killed before
// the folder is synced; the next one finds it gone, and the log grows past its name
// in the segment before. A crash behind the next Sync must not bring it back: it
// would hide those records behind others with their IDs (I2).
func TestCutSegmentsDoNotComeBack(t *testing.T) {
	for seed := range uint64(20) {
		b := newBundle(t, vfs.NewMem(), 4096)
		require.NoError(t, b.l.Cut(txn.None))
		require.NoError(t, b.l.Append(frame(0, 5, 500)))
		require.NoError(t, b.l.Append(frame(5, 5, 500)))
		require.NoError(t, b.l.Flush())
		require.NoError(t, b.l.Sync())
		require.Len(t, b.l.Extents(), 2)
		require.NoError(t, b.l.Cut(1))
		killed := b.fs.Clone()
		require.NoError(t, b.l.Close())

		b = newBundle(t, killed, 1<<20)
		require.NoError(t, b.l.Cut(1))
		want := append(frame(0, 2, 500), frame(2, 10, 300)...)
		require.NoError(t, b.l.Append(frame(2, 10, 300)))
		require.NoError(t, b.l.Flush())
		require.NoError(t, b.l.Sync())
		crashed := killed.CrashClone(seed)
		require.NoError(t, b.l.Close())

		b = newBundle(t, crashed, 1<<20)
		require.NoError(t, b.l.Cut(11), "seed %d", seed)
		require.Equal(t, string(want), string(b.readAll(t, 11, 4096)))
		require.NoError(t, b.l.Close())
	}
}

// TestFailedSyncIsNotRetried: a sync that fails for want of space is as final as
// any other, also where a Cut lets go of a segment: its bytes may be lost, and the
// next sync would say nothing of them.
func TestFailedSyncIsNotRetried(t *testing.T) {
	for name, call := range map[string]func(*Log) error{
		"cut":  func(l *Log) error { return l.Cut(1) },
		"sync": func(l *Log) error { return l.Sync() },
	} {
		for _, rule := range []vfs.Rule{
			{Op: vfs.OpDatasync, Match: "*.seg", Err: syscall.ENOSPC},
			{Op: vfs.OpDatasync, Match: "*.idx", Err: syscall.ENOSPC},
		} {
			b := newBundle(t, vfs.NewMem(), 4096)
			require.NoError(t, b.l.Cut(txn.None))
			require.NoError(t, b.l.Append(frame(0, 5, 500)))
			require.NoError(t, b.l.Append(frame(5, 5, 500)))
			require.NoError(t, b.l.Flush())
			b.fs.Inject(rule)
			var failed *damage.SyncError
			require.ErrorAs(t, call(b.l), &failed, name)
			require.ErrorIs(t, failed, syscall.ENOSPC)
			require.NoError(t, b.l.Close(), "each file is closed once")
		}
	}
}

// TestReadErrorIsNoDamagedIndex: a disk that fails to read says nothing about the
// index.
func TestReadErrorIsNoDamagedIndex(t *testing.T) {
	b := newBundle(t, vfs.NewMem(), 1<<20)
	require.NoError(t, b.l.Cut(txn.None))
	require.NoError(t, b.l.Append(frame(0, 50, 500)))
	require.NoError(t, b.l.Flush())
	require.NoError(t, b.l.Close())
	b = newBundle(t, b.fs, 1<<20)
	b.fs.Inject(vfs.Rule{Op: vfs.OpRead, Match: "*.seg", Skip: 1, Err: syscall.EIO}) // not the header
	require.ErrorIs(t, b.l.Cut(40), syscall.EIO)
	b.fs.ClearRules()
	require.NoError(t, b.l.Cut(40))
	require.Empty(t, b.odd)
	require.NoError(t, b.l.Close())
}

// TestDamageIsNoFailureOfARebuild: the index of the segment that is being written
// is damaged, and one of its records too. The storage must go on, since every
// other partition's log is whole.
func TestDamageIsNoFailureOfARebuild(t *testing.T) {
	b := filled(t)
	require.NoError(t, b.fs.Flip("/p/"+segmentName(40), header.Size+5*500+100, 4))
	require.NoError(t, b.fs.Flip("/p/"+indexName(40), 3, 1))
	b.l.c.Files.drop("/p/" + indexName(40))
	_, err := b.l.Read(58, 58, 1)
	require.True(t, damage.Is(err) || err == nil, "%v", err)
	require.NotEmpty(t, b.odd)
	require.NoError(t, b.l.Rebuild())
	require.NoError(t, b.l.Append(frame(60, 3, 430)))
	require.NoError(t, b.l.Flush())
	f, err := b.l.Read(60, 62, 1<<20)
	require.NoError(t, err)
	require.Equal(t, frame(60, 3, 430), f)
}
