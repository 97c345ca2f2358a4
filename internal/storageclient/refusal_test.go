package storageclient_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/storage"
)

// TestRefusalsStayTyped: what the session's rules refuse arrives as the refusal
// that the storage made, of calls and of appends.
func TestRefusalsStayTyped(t *testing.T) {
	p := start(t, vfs.NewMem(), nil)
	c := client(t, p, nil)
	l := open(t, c, 0, 5)
	refusal := func(err error, why session.Reason) {
		t.Helper()
		var r *session.RefusedError
		require.ErrorAs(t, err, &r)
		require.Equal(t, why, r.Reason)
		require.Equal(t, txn.SessionID(5), r.Promised)
		require.ErrorContains(t, err, "storage s1 at storage:1")
	}
	_, err := c.Open(t.Context(), session.Open{Session: 4})
	refusal(err, session.Fenced)
	refusal(c.Confirm(t.Context(), session.Confirm{Session: 4, Replica: l.self}), session.Fenced)
	refusal(c.Truncate(t.Context(), session.Truncate{Session: 5, Replica: l.self, Last: -1}), session.AlreadyInstalled)
	refusal(c.Install(t.Context(), session.Install{Session: 5, Replica: l.self, Last: 7}), session.Mismatch)
	m := l.message(1, 1)
	copied := session.Copy{Session: 5, Replica: l.self, PrevID: -1, Records: m.Records}
	refusal(c.Copy(t.Context(), copied), session.AlreadyInstalled)

	got := newAnswers()
	gap := l.message(1, 1)
	require.NoError(t, c.Append(t.Context(), gap, got.done))
	require.NoError(t, c.Append(t.Context(), m, got.done))
	why, ok := session.Refused(got.next(t).err)
	require.True(t, ok)
	require.Equal(t, session.Mismatch, why)
	require.NoError(t, got.next(t).err, "one that fits is taken all the same")
}

func TestOtherErrorsStayTyped(t *testing.T) {
	p := start(t, vfs.NewMem(), nil)
	c := client(t, p, func(o *storageclient.Options) { o.CreateReplicas = false })
	reason := func(err error, want wire.StorageReason) {
		t.Helper()
		got, ok := wire.StorageReasonOf(err)
		require.True(t, ok, "%v", err)
		require.Equal(t, want, got)
	}
	_, err := c.Open(t.Context(), session.Open{Partition: 9, Session: 1})
	reason(err, wire.StorageNoReplica)
	_, err = c.CreateReplica(t.Context(), 0)
	require.NoError(t, err)
	l := open(t, c, 0, 1)
	_, err = c.Read(t.Context(), 0, 5, 6, 100)
	reason(err, wire.StorageOutOfRange)

	bad := l.message(1, 10)
	bad.Records[70]++
	got := newAnswers()
	require.NoError(t, c.Append(t.Context(), bad, got.done))
	err = got.next(t).err
	reason(err, wire.StorageCorrupt)
	require.True(t, record.IsCorrupt(err))

	var left record.Frame
	for r := range l.message(1, 10).Records.Trusted() {
		left = record.AppendWithoutData(left, &r)
	}
	reason(c.Copy(t.Context(), session.Copy{Session: 1, Replica: l.self, PrevID: -1, Records: left}), wire.StorageWithoutData)
}

// TestStorageOfAnotherCluster: a storage belongs to the first cluster that calls
// it, on this start and on the next, and refuses others so that they know what to do.
func TestStorageOfAnotherCluster(t *testing.T) {
	fs := vfs.NewMem()
	p := start(t, fs, nil)
	require.Nil(t, p.host.Storage())
	who, err := client(t, p, nil).Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, storageclient.Storage{Name: name}, who)
	open(t, client(t, p, nil), 0, 1)
	require.Equal(t, cluster, p.host.Storage().ClusterKey())

	other := func(o *storageclient.Options) { o.ClusterKey = "other-cluster" }
	refused := func(p *process) {
		t.Helper()
		c := client(t, p, other)
		_, err := c.Open(t.Context(), session.Open{Session: 2})
		require.ErrorContains(t, err, cluster)
		require.ErrorContains(t, err, "other-cluster")
		require.ErrorContains(t, err, "correct the storage's address")
		got, _ := wire.StorageReasonOf(err)
		require.Equal(t, wire.StorageOtherCluster, got)
		answers := newAnswers()
		require.NoError(t, c.Append(t.Context(), session.Append{Records: make(record.Frame, 100)}, answers.done))
		got, _ = wire.StorageReasonOf(answers.next(t).err)
		require.Equal(t, wire.StorageOtherCluster, got)
	}
	refused(p)
	p.stop()
	refused(start(t, fs, nil))

	_, err = storage.NewHost(t.Context(), storage.HostOptions{Storage: storage.Options{FS: fs, Dir: "/storage", ClusterKey: "other-cluster"}})
	require.ErrorContains(t, err, "belongs to the cluster with key")
}

// TestStorageOfAnotherName: two names with one address do not make two replicas.
func TestStorageOfAnotherName(t *testing.T) {
	p := start(t, vfs.NewMem(), nil)
	c := client(t, p, func(o *storageclient.Options) { o.Name = "s2" })
	_, err := c.Open(t.Context(), session.Open{Session: 1})
	got, _ := wire.StorageReasonOf(err)
	require.Equal(t, wire.StorageOtherName, got)
	require.ErrorContains(t, err, "this is storage s1, the caller wants storage s2")
	require.Nil(t, p.host.Storage(), "who means another storage does not say which cluster this one is of")

	nameless := start(t, vfs.NewMem(), func(o *storage.HostOptions) { o.Name = "" })
	open(t, client(t, nameless, nil), 0, 1)
}

func TestOptionsThatAreWrong(t *testing.T) {
	_, err := storageclient.New(storageclient.Options{QueueBytes: 1})
	require.ErrorContains(t, err, "Address")
	require.ErrorContains(t, err, "ClusterKey")
	require.ErrorContains(t, err, "QueueBytes")
	_, err = storage.NewHost(t.Context(), storage.HostOptions{ReadsMax: -1, ReadBytesMax: 1})
	require.ErrorContains(t, err, "Dir")
	require.ErrorContains(t, err, "ReadsMax")
	require.ErrorContains(t, err, "ReadBytesMax")
}

func TestCloseFailsWhatIsUnanswered(t *testing.T) {
	p := start(t, vfs.NewMem(), nil)
	c := client(t, p, func(o *storageclient.Options) { o.Dial = nowhere })
	got := newAnswers()
	require.NoError(t, c.Append(t.Context(), session.Append{Records: make(record.Frame, 100)}, got.done))
	require.NoError(t, c.Close())
	err := got.next(t).err
	require.Error(t, err)
	require.ErrorIs(t, c.Append(t.Context(), session.Append{}, got.done), storageclient.ErrClosed)
	require.NoError(t, c.Close())
	require.Empty(t, got, "each is answered once")
	_, err = c.Read(t.Context(), 0, 0, 0, 1)
	require.Error(t, err)
	require.False(t, errors.Is(err, session.ErrFull))
}

// An empty folder is taken by the process that waits for its first server, not when
// that calls.
func TestTwoProcessesOnOneEmptyFolder(t *testing.T) {
	fs := vfs.NewMem()
	p := start(t, fs, nil)
	o := storage.HostOptions{Storage: storage.Options{FS: fs, Dir: "/storage"}}
	_, err := storage.NewHost(t.Context(), o)
	require.ErrorIs(t, err, storage.ErrLocked)
	open(t, client(t, p, nil), 0, 1)
	_, err = storage.NewHost(t.Context(), o)
	require.ErrorIs(t, err, storage.ErrLocked)

	empty := storage.HostOptions{Storage: storage.Options{FS: fs, Dir: "/empty"}}
	h, err := storage.NewHost(t.Context(), empty)
	require.NoError(t, err)
	require.NoError(t, h.Stop())
	h, err = storage.NewHost(t.Context(), empty)
	require.NoError(t, err, "the first has let go of it")
	require.NoError(t, h.Stop())
}
