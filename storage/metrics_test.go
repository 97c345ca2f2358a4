package storage_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// TestMetrics: the collector exports its catalogue, named as Prometheus asks.
func TestMetrics(t *testing.T) {
	s, err := storage.Open(t.Context(), storage.Options{Dir: "s", FS: vfs.NewMem(), ClusterKey: "key", JournalFileBytes: 1 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	_, err = s.CreateReplica(t.Context(), 0)
	require.NoError(t, err)
	c := s.Collector()
	require.Equal(t, len(storage.Metrics()), testutil.CollectAndCount(c))
	problems, err := testutil.CollectAndLint(c)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Positive(t, s.Stats().Journal.Datasyncs)
}
