package storage_test

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// A failed sync ends the storage: everybody who waits is told, nothing is taken
// any more, and it is never tried again.
func TestFailedFsyncIsFinal(t *testing.T) {
	for _, c := range []struct {
		name string
		rule vfs.Rule
	}{
		{"journal group", vfs.Rule{Op: vfs.OpDatasync, Match: "*.journal", Times: 1, Err: syscall.EIO}},
		{"journal group for want of space", vfs.Rule{Op: vfs.OpDatasync, Match: "*.journal", Times: 1, Err: syscall.ENOSPC}},
		{"journal write", vfs.Rule{Op: vfs.OpWrite, Match: "*.journal", Times: 1, Err: syscall.EIO}},
		{"segment", vfs.Rule{Op: vfs.OpDatasync, Match: "*.seg", Times: 1, Err: syscall.EIO}},
		{"index", vfs.Rule{Op: vfs.OpDatasync, Match: "*.idx", Times: 1, Err: syscall.EIO}},
		{"prepared journal file", vfs.Rule{Op: vfs.OpSync, Match: "fill.tmp", Times: 1, Err: syscall.EIO}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := vfs.NewMem()
			s := open(t, small(fsys))
			m := join(t, s, 0, 1)
			acknowledged := m.append(3, 200)
			fsys.Inject(c.rule)
			for s.Err() == nil {
				f := m.frame(4, 1000)
				if err := m.try(f); err != nil {
					require.ErrorIs(t, err, storage.ErrFailed)
					break
				}
				acknowledged = append(acknowledged, f...)
				m.last, m.stamp = m.last+4, m.session
			}
			<-s.Done()
			require.ErrorIs(t, s.Err(), storage.ErrFailed)
			require.ErrorIs(t, s.Err(), c.rule.Err)
			require.ErrorIs(t, m.try(m.frame(1, 1)), storage.ErrFailed)
			_, err := s.Open(context.Background(), session.Open{Session: 9})
			require.ErrorIs(t, err, storage.ErrFailed)
			fsys.SetSyncHook(func(op vfs.Op, name string) {
				if again, _ := path.Match(c.rule.Match, path.Base(name)); again {
					t.Errorf("%s of %s after it failed", op, name)
				}
			})
			require.ErrorIs(t, s.Close(), storage.ErrFailed)
			fsys.SetSyncHook(nil)

			fsys.ClearRules()
			s = open(t, small(fsys.CrashClone(3)))
			require.Empty(t, s.Damage())
			require.Equal(t, acknowledged, readAll(t, s, 0, 1<<20)[:len(acknowledged)])
			require.NoError(t, s.Close())
		})
	}
}

// What a failed process could not sync still stands in the page cache, and a sync
// by the next process says yes without writing it. What that process answers is on
// the disk all the same (I1, I2).
func TestFailedSyncIsNotTrustedAfterARestart(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	m := join(t, s, 0, 1)
	m.append(3, 200)
	fsys.Inject(vfs.Rule{Op: vfs.OpDatasync, Match: "*.journal", Times: 1, Err: syscall.EIO})
	require.ErrorIs(t, m.try(m.frame(4, 1000)), storage.ErrFailed)
	require.ErrorIs(t, s.Close(), storage.ErrFailed)

	fsys = fsys.Clone() // the process is another, the page cache is not
	s = open(t, small(fsys))
	promised, err := s.State(0)
	require.NoError(t, err)
	require.Equal(t, txn.ID(6), promised.Last, "it can be read")
	log := readAll(t, s, 0, 1<<20)
	for seed := range uint64(20) {
		after := open(t, small(fsys.CrashClone(seed)))
		require.Empty(t, after.Damage())
		require.Equal(t, log, readAll(t, after, 0, 1<<20))
		require.NoError(t, after.Close())
	}
	require.NoError(t, s.Close())
}

// A full disk refuses appends, loses nothing, and writing resumes by itself.
func TestFullDisk(t *testing.T) {
	fsys := vfs.NewMem()
	o := small(fsys)
	o.BacklogBytes = 64 << 10
	s := open(t, o)
	m := join(t, s, 0, 1)
	acknowledged := m.append(3, 200)
	fsys.SetSpace(fsys.Used())
	full := func() bool {
		f := m.frame(4, 1000)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		answer := make(chan error, 1)
		err := s.Append(ctx, m.message(f), func(_ session.Appended, err error) { answer <- err })
		switch {
		case err == nil:
			acknowledged = append(acknowledged, f...)
			m.last, m.stamp = m.last+4, m.session
			select {
			case err := <-answer:
				require.NoError(t, err)
			case <-ctx.Done(): // waits in the queue for room; will be answered then
			}
		case errors.Is(err, storage.ErrFull):
			require.ErrorIs(t, err, syscall.ENOSPC)
			return true
		default:
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		return false
	}
	require.Eventually(t, full, time.Minute, time.Nanosecond)
	require.True(t, s.Stats().Full)
	require.NoError(t, s.Err())

	fsys.SetSpace(-1)
	require.Eventually(t, func() bool { return m.try(m.frame(1, 10)) == nil }, time.Minute, time.Millisecond)
	acknowledged = append(acknowledged, m.frame(1, 10)...)
	require.Equal(t, acknowledged, readAll(t, s, 0, 1<<20))
	require.Eventually(t, func() bool { return !s.Stats().Full }, time.Minute, time.Millisecond)
	require.NoError(t, s.Close())
	s = open(t, o)
	require.Equal(t, acknowledged, readAll(t, s, 0, 1<<20))
	require.NoError(t, s.Close())
}

// A storage on a full disk can be closed, and loses nothing.
func TestCloseOnFullDisk(t *testing.T) {
	fsys := vfs.NewMem()
	o := small(fsys)
	s := open(t, o)
	m := join(t, s, 0, 1)
	acknowledged := m.append(3, 200)
	fsys.SetSpace(fsys.Used())
	for {
		f := m.frame(1, 1000)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		answer := make(chan error, 1)
		err := s.Append(ctx, m.message(f), func(_ session.Appended, err error) { answer <- err })
		if err == nil {
			select {
			case err = <-answer:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		cancel()
		if err != nil {
			break
		}
		acknowledged = append(acknowledged, f...)
		m.last, m.stamp = m.last+1, m.session
	}
	require.NoError(t, s.Close())
	fsys.SetSpace(-1)
	s = open(t, o)
	require.Equal(t, acknowledged, readAll(t, s, 0, 1<<20)[:len(acknowledged)])
	require.NoError(t, s.Close())
}

func TestOpenOnFullDisk(t *testing.T) {
	fsys := vfs.NewMem()
	fsys.SetSpace(10 << 10)
	_, err := storage.Open(context.Background(), small(fsys))
	require.ErrorIs(t, err, storage.ErrFull)
	fsys.SetSpace(-1)
	require.NoError(t, open(t, small(fsys)).Close())
}

func TestFolderRefusals(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	_, err := storage.Open(context.Background(), small(fsys))
	require.ErrorIs(t, err, storage.ErrLocked)
	require.ErrorContains(t, err, "in use")
	join(t, s, 0, 1).append(30, 500)
	require.NoError(t, s.Close())

	other := small(fsys)
	other.ClusterKey = "cluster-2"
	_, err = storage.Open(context.Background(), other)
	require.ErrorIs(t, err, storage.ErrOtherCluster)
	require.ErrorContains(t, err, "cluster-1")

	for _, name := range allFiles(t, fsys, dataDir) {
		newer := fsys.Clone()
		if !bumpFormat(t, newer, name) {
			continue
		}
		s, err := storage.Open(context.Background(), small(newer))
		if err == nil { // a segment, which is only opened when it is read
			_, err = s.Read(context.Background(), 0, 0, 0, 1)
			require.NoError(t, s.Close())
		}
		if !strings.HasSuffix(name, ".idx") {
			require.ErrorIs(t, err, storage.ErrNewerFormat, name)
		}
	}
}

// bumpFormat makes a file one of the next format; false if it has no header.
func bumpFormat(t *testing.T, fsys *vfs.Mem, name string) bool {
	t.Helper()
	b, err := fsys.Bytes(name)
	require.NoError(t, err)
	size := 128
	if strings.HasSuffix(name, ".journal") {
		size = 4096
	}
	if len(b) < size || !strings.HasPrefix(string(b), "WALTZ") || path.Base(name) == "synced" || path.Base(name) == "fill.tmp" {
		return false
	}
	b = b[:size]
	binary.LittleEndian.PutUint32(b[8:], 2)
	binary.LittleEndian.PutUint32(b[12:], 0)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	f, err := fsys.Open(name)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return true
}

// The queue has a bound; past it Append waits until its context ends.
func TestAppendWaitsForRoom(t *testing.T) {
	fsys := vfs.NewMem()
	o := small(fsys)
	o.QueueBytes = 64 << 10
	s := open(t, o)
	m := join(t, s, 0, 1)
	hold := make(chan struct{})
	var held atomic.Bool
	fsys.SetSyncHook(func(op vfs.Op, name string) {
		if op == vfs.OpDatasync && strings.HasSuffix(name, ".journal") {
			held.Store(true)
			<-hold
		}
	})
	answered := make(chan error, 100)
	given := 0
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		f := m.frame(1, 8<<10)
		err := s.Append(ctx, m.message(f), func(_ session.Appended, err error) { answered <- err })
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			break
		}
		given++
		m.last, m.stamp = m.last+1, m.session
	}
	require.True(t, held.Load())
	require.Less(t, given, 24)
	require.Less(t, s.Stats().QueueBytes, 128<<10)
	for { // the batch under way has left the queue, which may have room again by now
		err := s.TryAppend(m.message(m.frame(1, 8<<10)), func(_ session.Appended, err error) { answered <- err })
		if err != nil {
			require.ErrorIs(t, err, session.ErrBusy)
			break
		}
		given++
		m.last, m.stamp = m.last+1, m.session
	}
	require.Less(t, given, 24)
	close(hold)
	for range given {
		require.NoError(t, <-answered)
	}
	fsys.SetSyncHook(nil)
	m.append(1, 10)
	require.NoError(t, s.Close())
}

// What a truncation drops no longer counts as waiting for the segments.
func TestTruncatedRecordsDoNotFillTheBacklog(t *testing.T) {
	o := small(vfs.NewMem())
	o.FlushBytes, o.BacklogBytes = 64<<10, 64<<10
	s := open(t, o)
	defer func() { require.NoError(t, s.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for number := txn.SessionID(1); number < 60; number += 2 {
		m := join(t, s, 0, number)
		for range 4 {
			m.append(1, 3000)
			m.commit = txn.None
		}
		pr, err := s.Open(ctx, session.Open{Session: number + 1})
		require.NoError(t, err)
		require.NoError(t, s.Truncate(ctx, session.Truncate{Session: number + 1, Replica: pr.Replica, Last: txn.None}))
	}
	require.Less(t, s.Stats().BacklogBytes, o.BacklogBytes/2)
}

// The remains of a journal file's earlier life are not taken for its tail, also
// where they stand exactly behind the last group.
func TestRecycledTailsAreNotReplayed(t *testing.T) {
	fsys := vfs.NewMem()
	o := small(fsys)
	o.JournalFileBytes = 32 << 10
	s := open(t, o)
	m := join(t, s, 0, 1)
	want := m.append(1, 100)
	for s.Stats().Journal.FilesRecycled < 3 {
		want = append(want, m.append(2, 700)...)
	}
	for range 20 { // kill it at each place of a recycled file
		want = append(want, m.append(1, 20)...)
		left := open(t, small(fsys.Clone()))
		require.Empty(t, left.Damage())
		require.Equal(t, want, readAll(t, left, 0, 1<<20))
		require.NoError(t, left.Close())
	}
	require.NoError(t, s.Close())
}

// After the process was killed, damage to the very last group is not mistaken
// for a torn write.
func TestDamagedLastGroupIsNotCut(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	m := join(t, s, 0, 1)
	want := m.append(3, 200)
	left := fsys.Clone()
	require.NoError(t, s.Close())
	mark, err := left.Bytes(path.Join(dataDir, "journal", "synced"))
	require.NoError(t, err)
	file, end := binary.LittleEndian.Uint64(mark[8:]), binary.LittleEndian.Uint64(mark[16:])
	require.EqualValues(t, 1, file)
	require.NoError(t, left.Flip(path.Join(dataDir, "journal", "0000000000000001.journal"), int64(end)-4096+200, 1))

	s = open(t, small(left))
	require.NotEmpty(t, s.Damage())
	_, err = s.Read(context.Background(), 0, 0, 2, 1<<20)
	var damaged *storage.DamagedError
	require.ErrorAs(t, err, &damaged)
	require.Equal(t, txn.ID(0), damaged.First)
	require.Equal(t, txn.ID(2), damaged.Last)
	require.Contains(t, damaged.File, "0000000000000001.journal")
	_, err = s.Open(context.Background(), session.Open{Partition: 0, Session: 2})
	require.ErrorAs(t, err, &damaged, "a damaged replica promises nothing")
	other := join(t, s, 1, 1)
	other.append(3, 100) // others keep working
	require.NoError(t, s.Close())

	s = open(t, small(left)) // and it is not forgotten
	_, err = s.Read(context.Background(), 0, 0, 2, 1<<20)
	require.ErrorAs(t, err, &damaged)
	require.NoError(t, s.Close())
	_ = want
}
