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
