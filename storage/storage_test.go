package storage_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func small(fsys vfs.FS) storage.Options {
	return storage.Options{
		Dir: "/data/storage", FS: fsys, ClusterKey: "cluster-1", JournalFileBytes: 64 << 10, SegmentBytes: 16 << 10,
		FlushBytes: 8 << 10, RetryInterval: time.Millisecond,
	}
}

func open(t testing.TB, o storage.Options) *storage.Storage {
	t.Helper()
	s, err := storage.Open(context.Background(), o)
	require.NoError(t, err)
	return s
}

// member is the server's side of one replica: it opens sessions and appends.
type member struct {
	t       testing.TB
	s       *storage.Storage
	p       txn.Partition
	self    session.Replica
	session txn.SessionID
	last    txn.ID
	stamp   txn.SessionID
	commit  txn.ID
}

// join opens the next session of a partition and installs it.
func join(t testing.TB, s *storage.Storage, p txn.Partition, number txn.SessionID) *member {
	t.Helper()
	ctx := context.Background()
	_, err := s.CreateReplica(ctx, p)
	require.NoError(t, err)
	pr, err := s.Open(ctx, session.Open{Partition: p, Session: number})
	require.NoError(t, err)
	require.NoError(t, s.Install(ctx, session.Install{Partition: p, Session: number, Replica: pr.Replica, Last: pr.Last}))
	return &member{t: t, s: s, p: p, self: pr.Replica, session: number, last: pr.Last, stamp: session.Map(pr.Map).StampAt(pr.Last), commit: pr.Committed}
}

// frame makes records behind the last one.
func (m *member) frame(n, size int) record.Frame {
	var f record.Frame
	for i := range n {
		id := m.last + 1 + txn.ID(i)
		data := make([]byte, size)
		copy(data, fmt.Sprintf("%d/%d/%d", m.p, m.session, id))
		f = record.Append(f, &record.Record{Partition: m.p, ID: id, Stamp: m.session, Time: timeOf(id), Data: data}, nil)
	}
	return f
}

func timeOf(id txn.ID) txn.Timestamp { return txn.Timestamp(id/3)*1000 + 5 }

func (m *member) message(f record.Frame) session.Append {
	return session.Append{Partition: m.p, Session: m.session, Replica: m.self, PrevID: m.last, PrevStamp: m.stamp, Committed: m.commit, Records: f}
}

// append adds records and waits for them.
func (m *member) append(n, size int) record.Frame {
	m.t.Helper()
	f := m.frame(n, size)
	require.NoError(m.t, m.try(f))
	m.last, m.stamp, m.commit = m.last+txn.ID(n), m.session, m.last+txn.ID(n)
	return f
}

func (m *member) try(f record.Frame) error {
	done := make(chan error, 1)
	err := m.s.Append(context.Background(), m.message(f), func(_ session.Appended, err error) { done <- err })
	if err != nil {
		return err
	}
	return <-done
}

// readAll reads a partition from the start.
func readAll(t testing.TB, s *storage.Storage, p txn.Partition, bytesMax int) record.Frame {
	t.Helper()
	st, err := s.State(p)
	require.NoError(t, err)
	var all record.Frame
	for next := txn.ID(0); next <= st.Last; {
		f, err := s.Read(context.Background(), p, next, st.Last, bytesMax)
		require.NoError(t, err)
		span, err := f.Check()
		require.NoError(t, err)
		require.Equal(t, next, span.First)
		all = append(all, f...)
		next = span.Last + 1
	}
	return all
}

func TestAppendReadReopen(t *testing.T) {
	for _, c := range []struct {
		name   string
		reopen func(t *testing.T, s *storage.Storage, fsys *vfs.Mem) *vfs.Mem
	}{
		{"closed", func(t *testing.T, s *storage.Storage, fsys *vfs.Mem) *vfs.Mem {
			require.NoError(t, s.Close())
			return fsys
		}},
		{"killed", func(t *testing.T, s *storage.Storage, fsys *vfs.Mem) *vfs.Mem {
			left := fsys.Clone()
			require.NoError(t, s.Close())
			return left
		}},
		{"crashed", func(t *testing.T, s *storage.Storage, fsys *vfs.Mem) *vfs.Mem {
			left := fsys.CrashClone(7)
			require.NoError(t, s.Close())
			return left
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := vfs.NewMem()
			s := open(t, small(fsys))
			want := map[txn.Partition]record.Frame{}
			members := []*member{join(t, s, 0, 1), join(t, s, 3, 1)}
			for i := range 200 {
				for _, m := range members {
					want[m.p] = append(want[m.p], m.append(1+i%7, 100+i)...)
				}
			}
			for _, m := range members {
				require.Equal(t, want[m.p], readAll(t, s, m.p, 5000))
			}
			fsys = c.reopen(t, s, fsys)
			s = open(t, small(fsys))
			require.Empty(t, s.Damage())
			for _, m := range members {
				require.Equal(t, want[m.p], readAll(t, s, m.p, 1))
				again := join(t, s, m.p, 2)
				require.Equal(t, m.last, again.last)
				want[m.p] = append(want[m.p], again.append(3, 50)...)
				require.Equal(t, want[m.p], readAll(t, s, m.p, 1<<20))
			}
			require.NoError(t, s.Close())
		})
	}
}
