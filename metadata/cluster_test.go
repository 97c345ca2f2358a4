package metadata_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
)

func TestCreateRefusesWhatIsNoCluster(t *testing.T) {
	s := local.NewMemory()
	for _, c := range []metadata.Cluster{
		{Key: "k"},
		{Key: "k", Partitions: metadata.PartitionsMax + 1},
		{Partitions: 1},
		{Key: "k", Partitions: 1, FormatVersion: metadata.FormatVersion + 1},
	} {
		require.Error(t, metadata.Create(t.Context(), s, c, []string{"s"}))
	}
	names, err := s.List(t.Context(), "partitions")
	require.NoError(t, err)
	require.Empty(t, names)
}

// I1: a disk that stands twice in a set of replicas would count for two.
func TestStorageNamedTwiceIsRefused(t *testing.T) {
	c := metadata.Cluster{Key: "k", Partitions: 2}
	require.ErrorContains(t, metadata.Create(t.Context(), local.NewMemory(), c, []string{"s1", "s2", "s1"}), `storage "s1" is named twice`)
	require.NoError(t, metadata.Create(t.Context(), local.NewMemory(), c, []string{"s1", "s2"}))
}

func TestNewerFormatIsRefused(t *testing.T) {
	s := local.NewMemory()
	_, err := s.Set(t.Context(), "cluster", []byte(`{"format_version":99,"key":"k","partitions":1}`), metadata.Absent)
	require.NoError(t, err)
	_, err = metadata.LoadCluster(t.Context(), s)
	require.ErrorIs(t, err, metadata.ErrNewerFormat)
}

func TestUnreadableValueNamesItsKey(t *testing.T) {
	s := local.NewMemory()
	_, err := s.Set(t.Context(), metadata.PartitionKey(7), []byte("nonsense"), metadata.Absent)
	require.NoError(t, err)
	_, _, err = metadata.LoadPartition(t.Context(), s, 7)
	require.ErrorContains(t, err, "partitions/7")
}

// failing lets so many changes through, and then none.
type failing struct {
	metadata.Store
	mu   sync.Mutex
	left int
}

var errGone = errors.New("gone")

func (f *failing) Set(ctx context.Context, key string, value []byte, v metadata.Version) (metadata.Version, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left < 0 {
		return v, errGone
	}
	return f.Store.Set(ctx, key, value, v)
}

// An interrupted Create leaves no cluster and may be called again; state that a
// session has claimed is never renewed.
func TestCreateGoesOnAfterAnInterruption(t *testing.T) {
	for left := range 4 {
		s := local.NewMemory()
		c := metadata.Cluster{Key: "k", Name: "n", Partitions: 3}
		err := metadata.Create(t.Context(), &failing{Store: s, left: left}, c, []string{"s1"})
		require.ErrorIs(t, err, errGone)
		_, err = metadata.LoadCluster(t.Context(), s)
		require.ErrorIs(t, err, metadata.ErrNotFound)
		require.NoError(t, metadata.Create(t.Context(), s, c, []string{"s2"}))
		m, _, err := metadata.LoadPartition(t.Context(), s, 0)
		require.NoError(t, err)
		require.Equal(t, []string{"s2"}, m.Target)
	}
}

func TestCreateKeepsAPartitionThatHadASession(t *testing.T) {
	s := local.NewMemory()
	_, err := metadata.SavePartition(t.Context(), s, 1, metadata.PartitionState{Session: 4}, metadata.Absent)
	require.NoError(t, err)
	err = metadata.Create(t.Context(), s, metadata.Cluster{Key: "k", Partitions: 2}, []string{"s1"})
	require.ErrorContains(t, err, "partition 1")
}

func FuzzCheckKey(f *testing.F) {
	for _, key := range []string{"", "a", "a/b", "/", "a//b", "a/.."} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if metadata.CheckKey(key) != nil {
			return
		}
		require.False(t, key == "" || strings.HasPrefix(key, "/") || strings.HasSuffix(key, "/") || strings.Contains(key, "//"))
	})
}
