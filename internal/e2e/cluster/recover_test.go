package cluster_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/e2e/cluster"
	"github.com/waltz-log/waltz/metadata"
)

// lateStore has something happen before the first change of a partition's state.
type lateStore struct {
	metadata.Store
	once   sync.Once
	happen func()
}

func (s *lateStore) Set(ctx context.Context, key string, value []byte, version metadata.Version) (metadata.Version, error) {
	if key == metadata.PartitionKey(0) {
		s.once.Do(s.happen)
	}
	return s.Store.Set(ctx, key, value, version)
}

// A session that opens after the storages were asked is not judged by what they said
// before: those that were away are asked again.
func TestForcedRecoveryAsksAgain(t *testing.T) {
	c, m := start(t, cluster.Options{})
	o := c.Operate()
	for _, s := range c.Storages[1:] {
		s.Kill()
	}
	require.Eventually(t, func() bool { l, ok := c.Front().Leader(0); return ok && !l.Open }, patience, time.Millisecond)
	late := &lateStore{Store: c.Meta, happen: func() {
		for _, s := range c.Storages[1:] {
			s.Start()
		}
		c.Whole(patience)
		m.Progress(20, patience)
	}}
	blind := &admin.Cluster{Metadata: late, Storages: o.Storages}
	_, err := blind.ForceRecover(t.Context(), 0, admin.Recover{Accept: true})
	require.ErrorIs(t, err, admin.ErrRefused)
	require.ErrorContains(t, err, "a majority of partition 0 answers")
	require.Empty(t, c.M(0).Recoveries)
	m.Judge(patience)
}

// Storages that are cut off or hang are not lost; those that the machine says are gone
// are.
func TestSilenceIsNoLoss(t *testing.T) {
	c, m := start(t, cluster.Options{})
	o := c.Operate()
	o.AskMax = 300 * time.Millisecond
	for _, s := range c.Storages[1:] {
		s.Hold()
	}
	require.Eventually(t, func() bool { l, ok := c.Front().Leader(0); return ok && !l.Open }, patience, time.Millisecond)
	for range 2 {
		_, err := o.ForceRecover(t.Context(), 0, admin.Recover{Accept: true})
		require.ErrorIs(t, err, admin.ErrRefused)
		require.ErrorContains(t, err, "storage s2 gives no answer")
		require.ErrorContains(t, err, "--lost s3")
		for _, s := range c.Storages[1:] {
			s.Mend()
			s.Cut()
		}
	}
	for _, s := range c.Storages[1:] {
		s.Mend()
	}
	m.Progress(20, patience)
	m.Judge(patience)
}
