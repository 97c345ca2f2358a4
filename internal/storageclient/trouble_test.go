package storageclient_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

func nowhere(context.Context, string) (net.Conn, error) { return nil, errors.New("nobody is there") }

// TestStorageThatComesBack: what is under way when a storage ends fails, and its
// next start is found without anybody's doing; the answers of before do not count
// there.
func TestStorageThatComesBack(t *testing.T) {
	fs := vfs.NewMem()
	p := start(t, fs, nil)
	var now atomic.Pointer[process]
	now.Store(p)
	c := client(t, p, func(o *storageclient.Options) {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return now.Load().dial(ctx, addr) }
	})
	l := open(t, c, 0, 1)
	got := newAnswers()
	require.NoError(t, c.Append(t.Context(), l.message(3, 10), got.done))
	require.NoError(t, got.next(t).err)
	p.stop()
	require.NoError(t, c.Append(t.Context(), l.message(3, 10), got.done))
	require.Error(t, got.next(t).err)

	now.Store(start(t, fs, nil))
	var promise session.Promise
	require.Eventually(t, func() (ok bool) {
		var err error
		promise, err = c.Open(t.Context(), session.Open{Session: 1})
		return err == nil
	}, giveUp, time.Millisecond)
	require.Equal(t, l.self.Incarnation, promise.Replica.Incarnation)
	require.NotEqual(t, l.self.Start, promise.Replica.Start)
	require.Equal(t, txn.ID(2), promise.Last)
	old := l.message(1, 10)
	old.PrevID = 2
	require.NoError(t, c.Append(t.Context(), old, got.done))
	why, _ := session.Refused(got.next(t).err)
	require.Equal(t, session.Replaced, why)
	l.self, l.last, l.stamp = promise.Replica, 2, 1
	require.NoError(t, c.Append(t.Context(), l.message(1, 10), got.done))
	require.Equal(t, txn.ID(3), got.next(t).Last)
}

// stuck is a file system whose datasyncs wait.
type stuck struct {
	vfs.FS
	mu sync.Mutex // held: they wait
}

func (s *stuck) Create(name string) (vfs.File, error) {
	f, err := s.FS.Create(name)
	return &stuckFile{f, s}, err
}

func (s *stuck) Open(name string) (vfs.File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return &stuckFile{f, s}, nil
}

type stuckFile struct {
	vfs.File
	s *stuck
}

func (f *stuckFile) Datasync() error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return f.File.Datasync()
}

// TestSlowStorageKeepsNobodyWaiting: when as much as may waits for a storage whose
// disk hangs, the next append is told so at once, and nothing of it is kept (I9).
func TestSlowStorageKeepsNobodyWaiting(t *testing.T) {
	fs := &stuck{FS: vfs.NewMem()}
	p := start(t, fs, func(o *storage.HostOptions) { o.Storage.QueueBytes = 64 << 10 })
	c := client(t, p, func(o *storageclient.Options) { o.QueueBytes = 256 << 10 })
	l := open(t, c, 0, 1)
	fs.mu.Lock()
	got := newAnswers()
	given := 0
	for {
		before := *l
		err := c.Append(t.Context(), l.message(1, 8<<10), got.done)
		if err != nil {
			require.ErrorIs(t, err, session.ErrBusy)
			*l = before
			break
		}
		given++
	}
	require.Greater(t, given, 20)
	require.LessOrEqual(t, given, 32)
	fs.mu.Unlock()
	for i := range given {
		a := got.next(t)
		require.NoError(t, a.err)
		require.GreaterOrEqual(t, a.Last, txn.ID(i))
	}
	require.NoError(t, c.Append(t.Context(), l.message(1, 8<<10), got.done))
	require.NoError(t, got.next(t).err)
}

// TestFrameLargerThanTheQueue passes all the same.
func TestFrameLargerThanTheQueue(t *testing.T) {
	p := start(t, vfs.NewMem(), nil)
	c := client(t, p, func(o *storageclient.Options) { o.QueueBytes = 64 << 10 })
	l := open(t, c, 0, 1)
	got := newAnswers()
	require.NoError(t, c.Append(t.Context(), l.message(1, 3<<20), got.done))
	require.NoError(t, got.next(t).err)
	f, err := c.Read(t.Context(), 0, 0, 0, 1)
	require.NoError(t, err)
	_, err = f.Check()
	require.NoError(t, err)
	require.Greater(t, len(f), 3<<20)
}

// TestManyPartitionsInOneStream: the order of each partition is kept, whatever the
// others do.
func TestManyPartitionsInOneStream(t *testing.T) {
	p := start(t, vfs.NewMem(), nil)
	c := client(t, p, nil)
	const partitions, rounds = 20, 50
	var logs []*log
	got := make([]answers, partitions)
	for i := range partitions {
		logs = append(logs, open(t, c, txn.Partition(i), 1))
		got[i] = newAnswers()
	}
	for range rounds {
		for i, l := range logs {
			require.NoError(t, c.Append(t.Context(), l.message(2, 50), got[i].done))
		}
	}
	for i := range partitions {
		last := txn.None
		for range rounds {
			a := got[i].next(t)
			require.NoError(t, a.err)
			require.GreaterOrEqual(t, a.Last, last)
			last = a.Last
		}
		require.Equal(t, txn.ID(2*rounds-1), last)
	}
	require.Less(t, p.host.Storage().Stats().Journal.Datasyncs, uint64(partitions*rounds), "they share syncs")
	all, err := c.Replicas(t.Context(), 3, 4)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, txn.ID(2*rounds-1), all[1].Promise.Last)
}
