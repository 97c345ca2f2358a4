package storage_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// Every refusal of PROTOCOL.md reaches the caller, and changes nothing.
func TestRefusals(t *testing.T) {
	ctx := context.Background()
	s := open(t, small(vfs.NewMem()))
	defer func() { require.NoError(t, s.Close()) }()
	m := join(t, s, 0, 5)
	m.append(3, 10)
	m.append(1, 10) // carries committed = 2
	next := m.message(m.frame(1, 10))
	appendTo := func(change func(*session.Append)) func() error {
		return func() error {
			a := next
			change(&a)
			return s.Append(ctx, a, func(session.Appended, error) { t.Error("done was called") })
		}
	}
	for _, c := range []struct {
		name string
		call func() error
		want session.Reason
	}{
		{"open of a lower session", func() error { _, err := s.Open(ctx, session.Open{Session: 4}); return err }, session.Fenced},
		{"append of a lower session", appendTo(func(a *session.Append) { a.Session = 4 }), session.Fenced},
		{"append of a higher session", appendTo(func(a *session.Append) { a.Session = 6 }), session.NotPromised},
		{"append to another incarnation", appendTo(func(a *session.Append) { a.Replica.Incarnation++ }), session.Replaced},
		{"append to another start", appendTo(func(a *session.Append) { a.Replica.Start++ }), session.Replaced},
		{"append behind another record", appendTo(func(a *session.Append) { a.PrevStamp = 4 }), session.Mismatch},
		{"append with a gap", appendTo(func(a *session.Append) {
			a.PrevID++
			a.Records = record.Append(nil, &record.Record{ID: a.PrevID + 1, Stamp: 5}, nil)
		}), session.Mismatch},
		{"confirm of a lower session", func() error { return s.Confirm(ctx, session.Confirm{Session: 4, Replica: m.self}) }, session.Fenced},
		{"confirm to another start", func() error {
			return s.Confirm(ctx, session.Confirm{Session: 5, Replica: session.Replica{Incarnation: m.self.Incarnation}})
		}, session.Replaced},
		{"truncate after install", func() error {
			return s.Truncate(ctx, session.Truncate{Session: 5, Replica: m.self, Last: 3})
		}, session.AlreadyInstalled},
		{"copy after install", func() error {
			return s.Copy(ctx, session.Copy{Session: 5, Replica: m.self, PrevID: 3, PrevStamp: 5, Records: next.Records})
		}, session.AlreadyInstalled},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, err := s.State(0)
			require.NoError(t, err)
			why, refused := session.Refused(c.call())
			require.True(t, refused)
			require.Equal(t, c.want, why)
			after, err := s.State(0)
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}

	pr, err := s.Open(ctx, session.Open{Session: 7})
	require.NoError(t, err)
	why, _ := session.Refused(s.Truncate(ctx, session.Truncate{Session: 7, Replica: pr.Replica, Last: 1}))
	require.Equal(t, session.BelowCommitted, why)
	why, _ = session.Refused(s.Install(ctx, session.Install{Session: 7, Replica: pr.Replica, Last: 9}))
	require.Equal(t, session.Mismatch, why)
	next.Session = 7
	next.Records = record.Append(nil, &record.Record{ID: 4, Stamp: 7}, nil)
	why, _ = session.Refused(s.Append(ctx, next, nil))
	require.Equal(t, session.NotInstalled, why)
}

// A frame as a feed makes it for subscribers that want no data is refused, at the
// start of a log, behind its records and among whole ones, and nothing is changed
// on the disk.
func TestFramesWithoutDataAreRefused(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	m := join(t, s, 0, 1)
	want := m.append(3, 100)
	pr, err := s.Open(ctx, session.Open{Session: 2})
	require.NoError(t, err)
	stripped := func(first txn.ID, number txn.SessionID) record.Frame {
		f := record.Append(nil, &record.Record{ID: first, Stamp: number, Time: timeOf(3), Data: []byte("whole")}, nil)
		return record.AppendWithoutData(f, &record.Record{ID: first + 1, Stamp: number, Time: timeOf(3), DataLen: 9})
	}
	syncs := fsys.Count(vfs.OpDatasync)
	refused := func(err error) {
		t.Helper()
		require.ErrorIs(t, err, storage.ErrWithoutData)
		require.ErrorContains(t, err, "1 of the transactions 3 to 4")
	}
	refused(s.Copy(ctx, session.Copy{Session: 2, Replica: pr.Replica, PrevID: 2, PrevStamp: 1, Records: stripped(3, 1)}))
	require.NoError(t, s.Install(ctx, session.Install{Session: 2, Replica: pr.Replica, Last: 2}))
	next := session.Append{Session: 2, Replica: pr.Replica, PrevID: 2, PrevStamp: 1, Records: stripped(3, 2)}
	refused(s.Append(ctx, next, func(session.Appended, error) { t.Error("done was called") }))
	require.Equal(t, syncs+1, fsys.Count(vfs.OpDatasync), "that of the install")

	state, err := s.State(0)
	require.NoError(t, err)
	require.Equal(t, txn.ID(2), state.Last)
	left := fsys.Clone()
	require.NoError(t, s.Close())
	s = open(t, small(left))
	require.Equal(t, want, readAll(t, s, 0, 1<<20))
	require.NoError(t, s.Close())
}

// Repeated messages change nothing and are answered.
func TestRepeats(t *testing.T) {
	ctx := context.Background()
	s := open(t, small(vfs.NewMem()))
	defer func() { require.NoError(t, s.Close()) }()
	m := join(t, s, 0, 5)
	a := m.message(m.append(3, 10))
	a.PrevID, a.PrevStamp = txn.None, 0
	got := make(chan session.Appended, 1)
	require.NoError(t, s.Append(ctx, a, func(a session.Appended, err error) { require.NoError(t, err); got <- a }))
	require.Equal(t, session.Appended{Replica: m.self, Last: 2}, <-got)
	again := join(t, s, 0, 5)
	require.Equal(t, m.self, again.self)
	require.Equal(t, m.last, again.last)
}

func TestReadsOutOfRange(t *testing.T) {
	ctx := context.Background()
	s := open(t, small(vfs.NewMem()))
	defer func() { require.NoError(t, s.Close()) }()
	join(t, s, 0, 1).append(3, 10)
	for _, c := range []struct{ first, last txn.ID }{{-1, 2}, {3, 3}, {2, 1}} {
		_, err := s.Read(ctx, 0, c.first, c.last, 100)
		require.ErrorIs(t, err, storage.ErrOutOfRange)
	}
	_, err := s.Read(ctx, 1, 0, 0, 100)
	require.ErrorIs(t, err, storage.ErrNoReplica)
	_, err = s.Open(ctx, session.Open{Partition: 1, Session: 1})
	require.ErrorIs(t, err, storage.ErrNoReplica)
	f, err := s.Read(ctx, 0, 1, 100, 100)
	require.NoError(t, err)
	require.Equal(t, txn.ID(1), f.TrustedID())
}

// At finds the first record of a time in segments and in memory alike.
func TestAt(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	at, err := func() (txn.ID, error) { join(t, s, 0, 1); return s.At(ctx, 0, 0) }()
	require.NoError(t, err)
	require.Equal(t, txn.ID(0), at)
	m := join(t, s, 0, 2)
	for range 60 {
		m.append(3, 500)
	}
	check := func() {
		for want := txn.ID(0); want <= m.last+1; want += 3 {
			at, err := s.At(ctx, 0, timeOf(want)-1)
			require.NoError(t, err)
			require.Equal(t, want, at)
			at, err = s.At(ctx, 0, timeOf(want))
			require.NoError(t, err)
			require.Equal(t, want, at)
		}
		at, err := s.At(ctx, 0, -100)
		require.NoError(t, err)
		require.Equal(t, txn.ID(0), at)
	}
	check()
	require.NoError(t, s.Close())
	s = open(t, small(fsys))
	check()
	require.NoError(t, s.Close())
}

func TestOptionsReportAllMistakes(t *testing.T) {
	_, err := storage.Open(context.Background(), storage.Options{JournalFileBytes: 1, QueueBytes: -1})
	for _, part := range []string{"Dir", "ClusterKey", "JournalFileBytes", "QueueBytes"} {
		require.ErrorContains(t, err, part)
	}
}

func TestIdentity(t *testing.T) {
	ctx := context.Background()
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	a, err := s.CreateReplica(ctx, 0)
	require.NoError(t, err)
	b, err := s.CreateReplica(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, a, b)
	other, err := s.CreateReplica(ctx, 1)
	require.NoError(t, err)
	require.NotEqual(t, a.Incarnation, other.Incarnation)
	require.Equal(t, a.Start, other.Start)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "twice")
	_, err = s.CreateReplica(ctx, 2)
	require.ErrorIs(t, err, storage.ErrClosed)

	s = open(t, small(fsys))
	c, err := s.CreateReplica(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, a.Incarnation, c.Incarnation)
	require.NotEqual(t, a.Start, c.Start)
	require.NoError(t, s.Close())
}
