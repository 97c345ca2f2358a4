package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz"
)

// Model is a load of appends and subscriptions on a cluster, and what it was told.
type Model struct {
	t      testing.TB
	c      *Cluster
	client *waltz.Client
	ctx    context.Context
	stop   context.CancelFunc
	load   sync.WaitGroup
	feeds  sync.WaitGroup
	ending chan struct{} // no more appends
	halted sync.Once

	slowest atomic.Int64 // append, since Slowest was called last, in ns
	acked   atomic.Int64 // appends

	mu   sync.Mutex
	told []map[txn.ID]string // by partition: what was acknowledged (I1, I2)
	fed  []map[txn.ID]string // by partition: what the subscriber got (I6)
	high []txn.ID            // by partition: the highest acknowledged
	errs []error

	contention contention
}

// Load begins: workers append to all partitions, one transaction at a time each,
// and a subscriber follows each partition.
func (c *Cluster) Load(workers, bytes int) *Model { return c.Contend(workers, bytes, 0) }

// Contend is Load of which every second transaction takes one or two of so many locks.
func (c *Cluster) Contend(workers, bytes, locks int) *Model {
	m := &Model{t: c.t, c: c, client: c.Dial(), ending: make(chan struct{})}
	m.contention = contention{locks: uint64(locks), asked: map[string]asked{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	c.t.Cleanup(m.end)
	for range c.o.Partitions {
		m.told, m.fed, m.high = append(m.told, map[txn.ID]string{}), append(m.fed, map[txn.ID]string{}), append(m.high, txn.None)
	}
	for w := range workers {
		m.load.Go(func() { m.work(w, bytes) })
	}
	for p := range c.o.Partitions {
		m.feeds.Go(func() { m.follow(txn.Partition(p)) })
	}
	return m
}

func (m *Model) work(worker, bytes int) {
	r := rand.New(rand.NewPCG(uint64(worker), 5))
	for i := 0; ; i++ {
		select {
		case <-m.ending:
			return
		default:
		}
		p := txn.Partition((worker + i) % len(m.told))
		data := fmt.Sprintf("worker %d append %d %0*d", worker, i, bytes, 0)
		t, began := m.draw(r, p, data), time.Now()
		id, err := m.client.Append(m.ctx, p, t)
		if err != nil && m.conflicted(p, &t, err) {
			continue
		}
		if err != nil {
			m.fail(fmt.Errorf("append: %w", err))
			return
		}
		m.took(time.Since(began))
		m.acknowledged(p, id, data)
	}
}

func (m *Model) took(d time.Duration) {
	m.acked.Add(1)
	for {
		old := m.slowest.Load()
		if int64(d) <= old || m.slowest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

func (m *Model) fail(err error) {
	if m.ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.errs = append(m.errs, err)
}

func (m *Model) acknowledged(p txn.Partition, id txn.ID, data string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if other, twice := m.told[p][id]; twice {
		m.errs = append(m.errs, fmt.Errorf("transaction %d of partition %d was given to two appends: %.40q, %.40q", id, p, other, data))
	}
	m.told[p][id] = data
	m.high[p] = max(m.high[p], id)
}

// Partitions returns how many there are.
func (m *Model) Partitions() txn.Partition { return txn.Partition(len(m.told)) }

// Acked returns how many appends were acknowledged so far.
func (m *Model) Acked() int { return int(m.acked.Load()) }

// Slowest returns the longest that an append took that was acknowledged since the
// last call.
func (m *Model) Slowest() time.Duration { return time.Duration(m.slowest.Swap(0)) }

// High returns the highest ID of a partition that was acknowledged by now.
func (m *Model) High(p txn.Partition) txn.ID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.high[p]
}

// Progress waits until n more appends were acknowledged.
func (m *Model) Progress(n int, within time.Duration) {
	m.t.Helper()
	goal, end := m.Acked()+n, time.Now().Add(within)
	for m.Acked() < goal {
		if time.Now().After(end) {
			require.FailNow(m.t, "no progress", "%d of %d appends are missing\n%s", goal-m.Acked(), n, m.c.describe())
		}
		<-time.After(time.Millisecond) // it is looked at again
	}
}

func (m *Model) follow(p txn.Partition) {
	s, err := m.client.Subscribe(m.ctx, waltz.SubscribeOptions{Partition: p, HighWaterMark: waltz.None})
	if err != nil {
		m.fail(err)
		return
	}
	defer func() { _ = s.Close() }()
	for {
		b, err := s.Next(m.ctx, 0)
		if err != nil {
			m.fail(fmt.Errorf("feed of partition %d: %w", p, err))
			return
		}
		m.got(p, b)
	}
}

func (m *Model) got(p txn.Partition, b waltz.Batch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range b.Transactions {
		if next := txn.ID(len(m.fed[p])); r.ID != next {
			m.errs = append(m.errs, fmt.Errorf("feed of partition %d gave %d where %d was due", p, r.ID, next))
			return
		}
		m.fed[p][r.ID] = string(r.Data)
	}
}

// Halt ends the appends; those under way are waited for.
func (m *Model) Halt() {
	m.halted.Do(func() { close(m.ending) })
	m.load.Wait()
}

func (m *Model) end() {
	m.halted.Do(func() { close(m.ending) })
	m.stop()
	m.load.Wait()
	m.feeds.Wait()
}

// Judge ends the load of a cluster that was healed, and compares what clients were
// told with the log (I1, I2, I4, I5), the feeds (I6) and all replicas, and the metadata
// with what it was before (I3).
func (m *Model) Judge(within time.Duration) {
	m.t.Helper()
	m.Halt()
	m.c.Whole(within)
	for p := range m.told {
		m.judge(txn.Partition(p), within)
	}
	m.end()
	require.NoError(m.t, m.c.changes.judge())
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Empty(m.t, m.errs)
}

func (m *Model) judge(p txn.Partition, within time.Duration) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.ctx, within)
	defer cancel()
	high, err := m.client.HighWaterMark(ctx, p)
	require.NoError(m.t, err)
	log, seen := map[txn.ID]string{}, map[string]txn.ID{}
	if high != waltz.None {
		for r, err := range m.client.Read(ctx, p, 0, high) {
			require.NoError(m.t, err)
			require.Equal(m.t, txn.ID(len(log)), r.ID)
			data := string(r.Data)
			if other, twice := seen[data]; twice {
				require.FailNow(m.t, "committed twice (I4)", "partition %d: %.40q is transaction %d and %d", p, data, other, r.ID)
			}
			log[r.ID], seen[data] = data, r.ID
		}
	}
	m.mu.Lock()
	for id, data := range m.told[p] {
		if log[id] != data {
			m.errs = append(m.errs, fmt.Errorf("partition %d: transaction %d was acknowledged as %.40q and is %.40q (I1, I2)", p, id, data, log[id]))
		}
	}
	if err := m.judgeLocks(p, log); err != nil {
		m.errs = append(m.errs, err)
	}
	m.mu.Unlock()
	require.Eventually(m.t, func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.fed[p]) >= len(log)
	}, within, time.Millisecond, "the feed of partition %d is not complete (I6)", p)
	m.mu.Lock()
	require.True(m.t, equal(log, m.fed[p]), "the feed of partition %d is not the log (I6)", p)
	m.mu.Unlock()
	m.c.Equal(p, high, within)
}

func equal(a, b map[txn.ID]string) bool {
	if len(a) != len(b) {
		return false
	}
	for id, data := range a {
		if b[id] != data {
			return false
		}
	}
	return true
}
