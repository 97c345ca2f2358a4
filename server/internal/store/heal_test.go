package store_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/server/internal/store"
)

// patient is a storage that can be healed.
type patient struct {
	*storage
	incurable     bool
	asked, healed atomic.Int64
}

func (p *patient) Damaged(context.Context, txn.Partition) (damaged bool, _ error) {
	p.asked.Add(1)
	p.set(func() { damaged = p.storage.damaged[1] != 0 })
	return damaged, nil
}

// Heal takes what is missing one record at a time, and compares it with what it has.
func (p *patient) Heal(ctx context.Context, _ txn.Partition, committed txn.ID, read func(context.Context, txn.ID, txn.ID) (record.Frame, error)) (n int64, left int, err error) {
	p.healed.Add(1)
	if p.incurable {
		return 0, 1, errors.New("all sources are damaged")
	}
	var lost [2]txn.ID
	p.set(func() { lost = p.storage.damaged })
	for id := lost[0]; id <= min(lost[1], committed); id++ {
		f, err := read(ctx, id, id)
		if err != nil {
			return n, 1, err
		}
		same := false
		p.set(func() { same = bytes.Equal(f, p.log[id]) })
		if !same {
			return n, 1, errors.New("another record")
		}
		n++
	}
	p.set(func() { p.storage.damaged = [2]txn.ID{} })
	return n, 0, nil
}

func (c *cluster) patients() (all []*patient) {
	c.config.HealEvery = time.Millisecond
	for _, name := range []string{"s1", "s2", "s3"} {
		p := &patient{storage: c.storages[name]}
		c.config.Replicas[name] = p
		all = append(all, p)
	}
	return all
}

// A replica that knows of damage is healed with what the others have committed, and
// is never asked for its own records meanwhile.
func TestDamagedReplicaIsHealed(t *testing.T) {
	c := newCluster(t, 3)
	all := c.patients()
	s := c.open()
	c.append(s, 0, 99)
	c.waitCommitted(99)
	c.equal(99, "s1", "s2", "s3")
	for _, p := range all {
		p.set(func() { p.storage.damaged = [2]txn.ID{10, 60} })
		require.Eventually(t, func() (sound bool) {
			p.set(func() { sound = p.storage.damaged[1] == 0 })
			return sound
		}, patience, time.Millisecond)
	}
	require.NoError(t, s.Err())
}

// One that can't be healed is tried seldom, and costs the others nothing.
func TestIncurableReplicaIsTriedSeldom(t *testing.T) {
	c := newCluster(t, 3)
	all := c.patients()
	all[2].incurable = true
	s := c.open()
	c.append(s, 0, 9)
	c.waitCommitted(9)
	c.equal(9, "s1", "s2", "s3") // all are linked, and asked in the same rounds from here on
	before := all[0].asked.Load()
	all[2].set(func() { all[2].storage.damaged = [2]txn.ID{0, 5} })
	require.Eventually(t, func() bool { return all[2].healed.Load() > 2 }, patience, time.Millisecond)
	tries := all[2].healed.Load()
	rounds := all[0].asked.Load() - before
	require.LessOrEqual(t, tries, rounds/10+2)
	all[1].set(func() { all[1].storage.damaged = [2]txn.ID{2, 4} })
	require.Eventually(t, func() bool { return all[1].healed.Load() > 0 }, patience, time.Millisecond)
	require.NoError(t, s.Err())
}

// Without an interval nobody is asked.
func TestNobodyIsHealed(t *testing.T) {
	c := newCluster(t, 3)
	all := c.patients()
	c.config.HealEvery = -1
	s := c.open()
	c.append(s, 0, 9)
	c.waitCommitted(9)
	require.NoError(t, s.Close(t.Context()))
	require.False(t, slices.ContainsFunc(all, func(p *patient) bool { return p.asked.Load() > 0 }))
}

var _ store.Healer = (*patient)(nil)
