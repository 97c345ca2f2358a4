package metadata_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
)

func TestSaveStorageFillsInWhatIsLeftOut(t *testing.T) {
	s := local.NewMemory()
	_, err := metadata.SaveStorage(t.Context(), s, metadata.Storage{Name: "s1", Address: "h:1"}, metadata.Absent)
	require.NoError(t, err)
	got, _, err := metadata.LoadStorage(t.Context(), s, "s1")
	require.NoError(t, err)
	require.Equal(t, metadata.Storage{Name: "s1", Address: "h:1", Group: "s1", State: metadata.InService}, got)
}

func TestSaveStorageRefusesWhatIsNoStorage(t *testing.T) {
	s := local.NewMemory()
	good := metadata.Storage{Name: "s1", Address: "h:1"}
	for want, change := range map[string]func(*metadata.Storage){
		"name":        func(s *metadata.Storage) { s.Name = "a/b" },
		"1 to 64":     func(s *metadata.Storage) { s.Name = strings.Repeat("x", 65) },
		"'-', '_'":    func(s *metadata.Storage) { s.Name = ".." },
		"letters":     func(s *metadata.Storage) { s.Group = "rack 1" },
		"host:port":   func(s *metadata.Storage) { s.Address = "h" },
		"not host:po": func(s *metadata.Storage) { s.Address = ":1" },
		"state":       func(s *metadata.Storage) { s.State = "asleep" },
	} {
		bad := good
		change(&bad)
		_, err := metadata.SaveStorage(t.Context(), s, bad, metadata.Absent)
		require.ErrorContains(t, err, want)
	}
	names, err := s.List(t.Context(), metadata.StoragesKey)
	require.NoError(t, err)
	require.Empty(t, names)
	_, _, err = metadata.LoadStorage(t.Context(), s, "../cluster")
	require.ErrorContains(t, err, "name")
}

func TestReplication(t *testing.T) {
	s := local.NewMemory()
	r, version, err := metadata.LoadReplication(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, metadata.Replication{Replicas: 1}, r)
	_, err = metadata.SaveReplication(t.Context(), s, metadata.Replication{Replicas: 8}, version)
	require.ErrorContains(t, err, "1 to 7")
	_, err = metadata.SaveReplication(t.Context(), s, metadata.Replication{Replicas: 3}, version)
	require.NoError(t, err)
	r, _, err = metadata.LoadReplication(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, 3, r.Replicas)
}

// An interrupted Found may be called again with other storages: what it left
// behind is made as the new call wants it.
func TestFoundGoesOnAfterAnInterruption(t *testing.T) {
	f := metadata.Founding{
		Cluster:     metadata.Cluster{Key: "k", Name: "n", Partitions: 2},
		Storages:    []metadata.Storage{{Name: "s1", Address: "h:1"}, {Name: "s2", Address: "h:2"}},
		Replication: metadata.Replication{Replicas: 2},
		Targets:     [][]string{{"s1", "s2"}, {"s2", "s1"}},
	}
	for left := range 6 {
		s := local.NewMemory()
		first := f
		first.Storages = []metadata.Storage{{Name: "s0", Address: "h:0"}, {Name: "s1", Address: "old:1"}}
		require.ErrorIs(t, metadata.Found(t.Context(), &failing{Store: s, left: left}, first), errGone)
		require.NoError(t, metadata.Found(t.Context(), s, f))
		all, err := metadata.ListStorages(t.Context(), s)
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.Equal(t, "h:1", all[0].Address)
		m, _, err := metadata.LoadPartition(t.Context(), s, 1)
		require.NoError(t, err)
		require.Equal(t, []string{"s2", "s1"}, m.Target)
		require.ErrorIs(t, metadata.Found(t.Context(), s, f), metadata.ErrVersion)
	}
}

func TestFoundWantsATargetForEachPartition(t *testing.T) {
	err := metadata.Found(t.Context(), local.NewMemory(), metadata.Founding{
		Cluster: metadata.Cluster{Key: "k", Partitions: 2}, Targets: [][]string{{"s1"}},
	})
	require.ErrorContains(t, err, "1 targets for 2 partitions")
}
