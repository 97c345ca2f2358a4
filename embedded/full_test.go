package embedded_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/waltz"
)

// TestFullDisk: while the disk is full appends wait, and are told why, though
// nobody sends a new one; everything else works. With room again all that waited
// commits by itself, once, as what each caller is told (I1, I2, I4).
func TestFullDisk(t *testing.T) {
	const callers = 16
	mem := vfs.NewMem()
	w := open(t, small(embedded.Options{FS: mem}))
	full := make(chan error, 1)
	client := dial(t, w, waltz.WithHooks(waltz.Hooks{Refused: func(_ waltz.Partition, err error) {
		if errors.Is(err, waltz.ErrStorageFull) {
			select {
			case full <- err:
			default:
			}
		}
	}}))
	acked := &acknowledged{}
	var enough atomic.Bool
	var working sync.WaitGroup
	for caller := range callers {
		working.Go(func() {
			for n := 0; !enough.Load(); n++ {
				data := fmt.Sprintf("caller %d append %d %01000d", caller, n, 0)
				id, err := client.Append(t.Context(), 0, waltz.Transaction{Data: []byte(data), HighWaterMark: waltz.None})
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				acked.add(0, id, data)
			}
		})
	}
	mem.SetSpace(mem.Used() + 100<<10)
	require.ErrorContains(t, <-full, "disk is full")
	enough.Store(true) // the rest are in flight, or wait to be sent
	must := acked.snapshot()[0]
	reader := dial(t, w)
	hwm, err := reader.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	log := readAll(t, raw(t, w.Dial), 0)
	requireAcknowledged(t, log, must)
	require.Greater(t, len(log), int(hwm))
	require.Equal(t, log, fed(t, reader, waltz.ID(len(log)-1))[:len(log)])
	id, err := reader.At(t.Context(), 0, time.Unix(0, 0))
	require.NoError(t, err)
	require.Zero(t, id)

	mem.SetSpace(-1)
	working.Wait()
	log = readAll(t, raw(t, w.Dial), 0)
	requireAcknowledged(t, log, acked.snapshot()[0])
	require.Len(t, acked.snapshot()[0], len(log), "I4: nothing is there twice")
	_, err = client.Append(t.Context(), 0, waltz.Transaction{Data: []byte("more"), HighWaterMark: waltz.None})
	require.NoError(t, err)
}

func requireAcknowledged(t *testing.T, log []string, must map[waltz.ID]string) {
	t.Helper()
	for id, data := range must {
		require.Less(t, int(id), len(log))
		require.Equal(t, data, log[id], "transaction %d", id)
	}
}

// fed returns the data of all transactions up to a high-water mark, as a
// subscriber gets them.
func fed(t *testing.T, client *waltz.Client, hwm waltz.ID) (log []string) {
	t.Helper()
	feed, err := client.Subscribe(t.Context(), waltz.SubscribeOptions{HighWaterMark: waltz.None})
	require.NoError(t, err)
	defer func() { require.NoError(t, feed.Close()) }()
	for mark := waltz.None; mark < hwm; {
		batch, err := feed.Next(t.Context(), 1<<10)
		require.NoError(t, err)
		for _, tx := range batch.Transactions {
			require.Equal(t, waltz.ID(len(log)), tx.ID)
			log = append(log, string(tx.Data))
		}
		mark = batch.HighWaterMark
	}
	return log
}

// TestOpenOnFullDisk: without room for the claim of a session nothing is served,
// and Open says why; what is there is there when there is room.
func TestOpenOnFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	o := small(embedded.Options{FS: mem, ReadyMax: 100 * time.Millisecond})
	w := open(t, o)
	appendRaw(t, raw(t, w.Dial), 0, 3)
	require.NoError(t, w.Close(t.Context()))
	mem.SetSpace(0)
	_, err := embedded.Open(t.Context(), o)
	require.ErrorContains(t, err, syscall.ENOSPC.Error())
	mem.SetSpace(-1)
	require.Len(t, readAll(t, raw(t, open(t, o).Dial), 0), 3)
}
