package storageclient_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
)

// flaky is metadata whose lists fail while it is told so; it counts its watches.
type flaky struct {
	metadata.Store
	fail    atomic.Bool
	watches atomic.Int64 // that have not ended
	most    atomic.Int64
	lists   atomic.Int64
}

func (s *flaky) List(ctx context.Context, key string) ([]string, error) {
	s.lists.Add(1)
	if s.fail.Load() {
		return nil, errors.New("metadata is away")
	}
	return s.Store.List(ctx, key)
}

func (s *flaky) Watch(ctx context.Context, key string) (<-chan struct{}, error) {
	n := s.watches.Add(1)
	s.most.Store(max(s.most.Load(), n)) // one goroutine watches
	context.AfterFunc(ctx, func() { s.watches.Add(-1) })
	return s.Store.Watch(ctx, key)
}

// A directory has one watch at a time, also when it fails to load again and again.
func TestDirectoryWatchesOnce(t *testing.T) {
	m := &flaky{Store: local.NewMemory()}
	d, err := storageclient.NewDirectory(t.Context(), m, storageclient.Options{ClusterKey: "k"})
	require.NoError(t, err)
	loads := int64(2) // at once, and under the watch
	require.Eventually(t, func() bool { return m.lists.Load() == loads && m.watches.Load() == 1 }, 10*time.Second, time.Millisecond)
	m.fail.Store(true)
	seen := m.lists.Load()
	save := func(name string) {
		_, err := metadata.SaveStorage(t.Context(), m.Store, metadata.Storage{Name: name, Address: name + ":1"}, metadata.Absent)
		require.NoError(t, err)
	}
	save("s1")
	require.Eventually(t, func() bool { return m.lists.Load() >= seen+2 }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, m.watches.Load(), int64(1))
	m.fail.Store(false)
	require.Eventually(t, func() bool { _, ok := d.Find("s1"); return ok }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return m.watches.Load() == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, d.Close())
	require.Eventually(t, func() bool { return m.watches.Load() == 0 }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, m.most.Load(), int64(2), "one that ends, and the next")
}
