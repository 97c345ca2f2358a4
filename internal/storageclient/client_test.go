package storageclient_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// TestEveryMessage carries each message of a session over the network, and its
// answer back.
func TestEveryMessage(t *testing.T) {
	p := start(t, vfs.NewMem(), nil)
	c := client(t, p, nil)
	l := open(t, c, 3, 5)
	got := newAnswers()
	for range 10 {
		require.NoError(t, c.Append(t.Context(), l.message(5, 100), got.done))
	}
	last := txn.None
	for range 10 {
		a := got.next(t)
		require.NoError(t, a.err)
		require.Equal(t, l.self, a.Replica)
		require.GreaterOrEqual(t, a.Last, last, "answers come in order")
		last = a.Last
	}
	require.Equal(t, txn.ID(49), last)
	require.NoError(t, c.Confirm(t.Context(), session.Confirm{Partition: 3, Session: 5, Replica: l.self}))

	f, err := c.Read(t.Context(), 3, 10, 19, 1<<20)
	require.NoError(t, err)
	span, err := f.Check()
	require.NoError(t, err)
	require.Equal(t, [2]txn.ID{10, 19}, [2]txn.ID{span.First, span.Last})
	id, err := c.At(t.Context(), 3, 1)
	require.NoError(t, err)
	require.Equal(t, txn.ID(50), id)

	promise, err := c.Open(t.Context(), session.Open{Partition: 3, Session: 6})
	require.NoError(t, err)
	require.Equal(t, session.Promise{
		Replica: l.self, Promised: 6, Installed: 5, Last: 49, Committed: 44, Map: []session.StampStart{{Stamp: 5, First: 0}},
	}, promise)
	require.NoError(t, c.Truncate(t.Context(), session.Truncate{Partition: 3, Session: 6, Replica: l.self, Last: 46}))
	rest, err := c.Read(t.Context(), 3, 45, 46, 1)
	require.NoError(t, err)
	require.Equal(t, txn.ID(45), rest.TrustedID())
	l.last = 46
	m := l.message(3, 10)
	require.NoError(t, c.Copy(t.Context(), session.Copy{Partition: 3, Session: 6, Replica: l.self, PrevID: 46, PrevStamp: 5, Records: m.Records}))
	require.NoError(t, c.Install(t.Context(), session.Install{Partition: 3, Session: 6, Replica: l.self, Last: 49}))
}

// Who asks hears that the disk is full as soon as anything can't be written to it, while
// the journal, which lies in blocks that it has, takes appends for some time yet.
func TestFullDiskIsDescribed(t *testing.T) {
	fs := vfs.NewMem()
	p := start(t, fs, func(o *storage.HostOptions) { o.Storage.JournalFileBytes, o.Storage.BacklogBytes = 32<<20, 4<<20 })
	c := client(t, p, nil)
	l, got := open(t, c, 0, 1), newAnswers()
	require.Eventually(t, func() bool { return p.host.Storage().Stats().Journal.FilesZeroed == 2 }, giveUp, time.Millisecond, "one file ahead")
	fs.SetSpace(fs.Used())
	full := func() bool {
		who, err := c.Describe(t.Context())
		require.NoError(t, err)
		return who.Full
	}
	require.False(t, full())
	for err := error(nil); err == nil && !p.host.Storage().Stats().Full; {
		require.NoError(t, c.Append(t.Context(), l.message(1, 64<<10), got.done))
		err = got.next(t).err // at the latest when memory is full, too
	}
	require.NoError(t, p.host.Storage().Full())
	require.True(t, full())
	fs.SetSpace(-1)
	require.Eventually(t, func() bool { return !full() }, giveUp, time.Millisecond)
}
