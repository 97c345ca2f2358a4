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
	"github.com/waltz-log/waltz/storage"
	"github.com/waltz-log/waltz/waltz"
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

// A storage that was given up comes back with all that it had acknowledged: it takes
// no part, says why, and does after a reset.
func TestGivenUpReplicaReturns(t *testing.T) {
	c, m := start(t, cluster.Options{})
	o := c.Operate()
	m.Halt()
	c.Whole(patience)
	client := c.Dial()
	add := func(data string) {
		_, err := client.Append(t.Context(), 0, waltz.Transaction{Data: []byte(data), HighWaterMark: waltz.None})
		require.NoError(t, err)
	}
	high, err := client.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	c.Equal(0, high, patience)
	c.Storages[0].Kill() // what comes now it has not got
	for range 5 {
		add("gone") // each append tells the others that the one before is committed
	}
	for _, s := range c.Storages[1:] {
		s.Kill()
	}
	c.Storages[0].Start()
	require.Eventually(t, func() bool { l, ok := c.Front().Leader(0); return ok && !l.Open }, patience, time.Millisecond)
	report, err := o.ForceRecover(t.Context(), 0, admin.Recover{Accept: true})
	require.NoError(t, err)
	require.Equal(t, "s1", report.Recovery.Kept)
	require.Equal(t, high, report.Recovery.Last)
	require.NoError(t, c.Front().Ready(t.Context()))
	client = c.Dial() // the old one has seen what is no more
	add("new")

	for _, s := range c.Storages[1:] {
		s.Start()
	}
	_, _, err = o.Move(t.Context(), 0, []string{"s1", "s2", "s3"})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		st, err := o.Status(t.Context(), nil)
		require.NoError(t, err)
		for _, r := range st.States[0].Replicas[1:] {
			if !r.Unfit {
				return false
			}
			require.Equal(t, admin.RoleNewcomer, r.Role)
			require.Contains(t, r.Problem, "given up by a forced recovery")
			require.Contains(t, r.Problem, "waltz storage reset --partition 0")
		}
		return len(st.States[0].Replicas) == 3
	}, patience, 5*time.Millisecond)
	add("the one that was kept serves")
	for i, s := range c.Storages[1:] {
		_, err := s.Host().Storage().Reset(t.Context(), storage.Reset{Keep: i == 0})
		require.NoError(t, err)
	}
	settled(t, c, 0, "s1", "s2", "s3")
	high, err = client.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	c.Equal(0, high, patience)
}
