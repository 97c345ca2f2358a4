package embedded_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/waltz"
)

var errDisk = errors.New("disk failed")

// A failed fsync ends the node for good; who embeds it hears of it, and Close
// does not wait for what can't be committed any more.
func TestFailedSyncEndsTheNode(t *testing.T) {
	mem := vfs.NewMem()
	w, err := embedded.Open(t.Context(), small(embedded.Options{FS: mem}))
	require.NoError(t, err)
	client := dial(t, w)
	_, err = client.Append(t.Context(), 0, waltz.Transaction{Data: []byte("fine"), HighWaterMark: waltz.None})
	require.NoError(t, err)
	mem.Inject(vfs.Rule{Op: vfs.OpDatasync, Err: errDisk})
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() {
		_, err := client.Append(ctx, 0, waltz.Transaction{Data: []byte("unknown"), HighWaterMark: waltz.None})
		answered <- err
	}()
	<-w.Done()
	require.ErrorIs(t, w.Err(), errDisk)
	cancel()
	var unknown *waltz.UnknownError
	require.ErrorAs(t, <-answered, &unknown)
	_ = w.Close(context.Background())
	require.ErrorIs(t, w.Err(), errDisk)

	mem.ClearRules()
	w = open(t, small(embedded.Options{FS: mem}))
	log := readAll(t, raw(t, w.Dial), 0)
	require.Equal(t, "fine", log[0])
}

// A storage that is not the one that the metadata knows is never served.
func TestRemovedStorageIsNoEmptyLog(t *testing.T) {
	mem := vfs.NewMem()
	w := open(t, small(embedded.Options{FS: mem}))
	appendRaw(t, raw(t, w.Dial), 0, 3)
	require.NoError(t, w.Close(t.Context()))
	removeAll(t, mem, "/log/storage")
	_, err := embedded.Open(t.Context(), small(embedded.Options{FS: mem}))
	var lost *embedded.LostError
	require.ErrorAs(t, err, &lost)
	require.ErrorIs(t, err, session.ErrWiped)
}

// Metadata that was removed does not turn the storage into a new log.
func TestRemovedMetadataIsNoNewLog(t *testing.T) {
	mem := vfs.NewMem()
	w := open(t, small(embedded.Options{FS: mem}))
	appendRaw(t, raw(t, w.Dial), 0, 3)
	require.NoError(t, w.Close(t.Context()))
	removeAll(t, mem, "/log/metadata")
	_, err := embedded.Open(t.Context(), small(embedded.Options{FS: mem}))
	require.ErrorContains(t, err, "cluster")
}

func removeAll(t *testing.T, fs vfs.FS, name string) {
	t.Helper()
	info, err := fs.Stat(name)
	require.NoError(t, err)
	if info.IsDir() {
		names, err := fs.List(name)
		require.NoError(t, err)
		for _, n := range names {
			removeAll(t, fs, name+"/"+n)
		}
	}
	require.NoError(t, fs.Remove(name))
}
