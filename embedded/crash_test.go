package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/waltz"
)

const (
	crashPartitions = 3
	crashWorkers    = 4
	crashAppends    = 40 // of each worker
	crashesMax      = 60 // machines that are looked at afterwards
)

// acknowledged is what clients were told, and with it what must be there for
// ever (I1, I2).
type acknowledged struct {
	mu   sync.Mutex
	data [crashPartitions]map[waltz.ID]string
}

func (a *acknowledged) add(p waltz.Partition, id waltz.ID, data string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.data[p] == nil {
		a.data[p] = map[waltz.ID]string{}
	}
	a.data[p][id] = data
}

func (a *acknowledged) snapshot() (s [crashPartitions]map[waltz.ID]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, ids := range a.data {
		s[p] = map[waltz.ID]string{}
		for id, data := range ids {
			s[p][id] = data
		}
	}
	return s
}

// crash is a disk as the machine left it, and what had been acknowledged.
type crash struct {
	disk *vfs.Mem
	must [crashPartitions]map[waltz.ID]string
	when string
}

// TestCrashAnywhere stops the machine at sync points of metadata and storage
// under concurrent appends, loses what was not synced, and opens the whole node
// again.
func TestCrashAnywhere(t *testing.T) {
	mem, acked := vfs.NewMem(), &acknowledged{}
	crashes := recordCrashes(mem, acked)
	w := open(t, small(embedded.Options{FS: mem, Partitions: crashPartitions}))
	workload(t, w, acked)
	require.NoError(t, w.Close(t.Context()))
	mem.SetSyncHook(nil)
	require.NotEmpty(t, *crashes)
	for _, c := range *crashes {
		survive(t, c)
	}
}

// recordCrashes keeps a sample of all sync points, the first ones (a log that is
// being created) all.
func recordCrashes(mem *vfs.Mem, acked *acknowledged) *[]crash {
	var mu sync.Mutex
	seen, crashes, rnd := 0, &[]crash{}, rand.New(rand.NewPCG(1, 2))
	mem.SetSyncHook(func(op vfs.Op, name string) {
		mu.Lock()
		defer mu.Unlock()
		seen++
		place := len(*crashes)
		if place >= crashesMax {
			if place = rnd.IntN(seen); place >= crashesMax || place < crashesMax/3 {
				return
			}
		}
		c := crash{must: acked.snapshot(), when: fmt.Sprintf("sync %d: %s %s", seen, op, name)}
		c.disk = mem.CrashClone(rnd.Uint64())
		if place == len(*crashes) {
			*crashes = append(*crashes, c)
		} else {
			(*crashes)[place] = c
		}
	})
	return crashes
}

func workload(t *testing.T, w *embedded.Waltz, acked *acknowledged) {
	client := dial(t, w)
	var wg sync.WaitGroup
	for worker := range crashWorkers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(worker), 7))
			for i := range crashAppends {
				p, data := waltz.Partition(rnd.IntN(crashPartitions)), fmt.Sprintf("worker %d append %d %0*d", worker, i, rnd.IntN(2000), 0)
				id, err := client.Append(t.Context(), p, waltz.Transaction{Data: []byte(data), HighWaterMark: waltz.None})
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				acked.add(p, id, data)
			}
		})
	}
	wg.Wait()
}

// dial connects a client to a node without letting it close the node.
func dial(t *testing.T, w *embedded.Waltz, opts ...waltz.Option) *waltz.Client {
	t.Helper()
	transport := w.Transport()
	transport.Close = nil
	c, err := waltz.Dial(t.Context(), "node://", append(opts, waltz.WithSchemes(scheme(transport)))...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func survive(t *testing.T, c crash) {
	t.Helper()
	w, err := embedded.Open(t.Context(), small(embedded.Options{FS: c.disk, Partitions: crashPartitions}))
	require.NoError(t, err, c.when)
	defer func() { require.NoError(t, w.Close(context.Background()), c.when) }()
	client := raw(t, w.Dial)
	for p, must := range c.must {
		log := readAll(t, client, int32(p))
		for id, data := range must {
			require.Less(t, int(id), len(log), "%s: partition %d", c.when, p)
			require.Equal(t, data, log[id], "%s: partition %d transaction %d", c.when, p, id)
		}
		require.Equal(t, int64(len(log)), appendRaw(t, client, int32(p), 1), c.when)
	}
}

// readAll returns the data of all transactions of a partition; their IDs are
// dense from 0.
func readAll(t *testing.T, c clientpb.WaltzClient, p int32) (log []string) {
	t.Helper()
	high := mark(t, c, p)
	if high < 0 {
		return nil
	}
	stream, err := c.Read(t.Context(), &clientpb.ReadRequest{Partition: p, First: 0, Last: high})
	require.NoError(t, err)
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			require.Len(t, log, int(high)+1)
			return log
		}
		require.NoError(t, err)
		for r, err := range record.Frame(answer.GetFrame()).All() {
			require.NoError(t, err)
			require.Equal(t, waltz.ID(len(log)), r.ID)
			log = append(log, string(r.Data))
		}
	}
}
