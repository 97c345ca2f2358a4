package admin_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
)

func storages(names ...string) (all []metadata.Storage) {
	for _, name := range names {
		all = append(all, metadata.Storage{Name: name, Address: name + ":1", Group: "rack-" + name[:1]})
	}
	return all
}

// found founds a cluster whose partitions have all been opened.
func found(t *testing.T, f admin.Founding) *admin.Cluster {
	m := local.NewMemory()
	_, _, err := admin.Found(t.Context(), m, f)
	require.NoError(t, err)
	c := &admin.Cluster{Metadata: m, Now: func() time.Time { return time.UnixMicro(1) }}
	follow(t, c, f.Partitions)
	return c
}

// follow is what servers do: the members become the target.
func follow(t *testing.T, c *admin.Cluster, partitions int) {
	for p := range txn.Partition(partitions) {
		m, version, err := metadata.LoadPartition(t.Context(), c.Metadata, p)
		require.NoError(t, err)
		m.Session++
		m.Opened, m.Members = m.Session, nil
		for _, name := range m.Target {
			m.Members = append(m.Members, metadata.Member{Storage: name, Incarnation: 1, Installed: m.Session})
		}
		_, err = metadata.SavePartition(t.Context(), c.Metadata, p, m, version)
		require.NoError(t, err)
	}
}

func TestFoundPlacesByGroups(t *testing.T) {
	m := local.NewMemory()
	f := admin.Founding{Name: "n", Partitions: 8, Storages: storages("a1", "a2", "b1", "b2", "c1", "c2")}
	c, targets, err := admin.Found(t.Context(), m, f)
	require.NoError(t, err)
	require.NotEmpty(t, c.Key)
	for _, target := range targets {
		groups := map[byte]bool{}
		for _, name := range target {
			groups[name[0]] = true
		}
		require.Len(t, groups, 3, "%v", target)
	}
	_, _, err = admin.Found(t.Context(), m, f)
	require.ErrorIs(t, err, admin.ErrRefused)
	for _, bad := range []admin.Founding{
		{Partitions: 1},
		{Storages: f.Storages},
		{Partitions: 1, Replicas: 7, Storages: f.Storages},
		{Partitions: 1, Replicas: 2, Storages: []metadata.Storage{{Name: "a", Address: "one:1"}, {Name: "b", Address: "one:1"}}},
		{Partitions: metadata.PartitionsMax + 1, Storages: f.Storages},
	} {
		_, _, err = admin.Found(t.Context(), local.NewMemory(), bad)
		require.ErrorIs(t, err, admin.ErrInvalid, "%+v", bad)
	}
}

// A rebalance goes on in steps, so many at a time, each of which keeps a majority,
// until nothing is left; its plan alone changes nothing.
func TestRebalanceGoesInSteps(t *testing.T) {
	const partitions = 12
	c := found(t, admin.Founding{Partitions: partitions, Storages: storages("a1", "b1", "c1")})
	for _, s := range storages("d1", "e1", "f1") {
		require.NoError(t, c.PutStorage(t.Context(), s, false))
	}
	for _, name := range []string{"a1", "b1", "c1"} {
		_, err := c.DrainStorage(t.Context(), name, false)
		require.NoError(t, err)
	}
	plan, err := c.Rebalance(t.Context(), admin.Rebalance{DryRun: true})
	require.NoError(t, err)
	require.Len(t, plan.Changes, partitions)
	require.Zero(t, plan.UnderWay)
	for rounds := 0; !plan.Done(); rounds++ {
		require.Less(t, rounds, 50)
		plan, err = c.Rebalance(t.Context(), admin.Rebalance{AtOnce: 5})
		require.NoError(t, err)
		require.LessOrEqual(t, plan.UnderWay, 5)
		for p := range txn.Partition(partitions) {
			m, _, err := metadata.LoadPartition(t.Context(), c.Metadata, p)
			require.NoError(t, err)
			kept := 0
			for _, member := range m.Members {
				for _, name := range m.Target {
					if name == member.Storage {
						kept++
					}
				}
			}
			require.Greater(t, 2*kept, len(m.Members), "partition %d: %v to %v", p, m.Members, m.Target)
		}
		follow(t, c, partitions)
	}
	for _, name := range []string{"a1", "b1", "c1"} {
		require.NoError(t, c.RemoveStorage(t.Context(), name))
	}
}

func TestStoragesAreGuarded(t *testing.T) {
	c := found(t, admin.Founding{Partitions: 2, Storages: storages("a1", "b1", "c1")})
	require.ErrorIs(t, c.PutStorage(t.Context(), storages("a1")[0], false), admin.ErrRefused)
	require.ErrorIs(t, c.PutStorage(t.Context(), storages("x1")[0], true), admin.ErrRefused)
	require.ErrorIs(t, c.PutStorage(t.Context(), metadata.Storage{Name: "d1", Address: "nowhere"}, false), admin.ErrInvalid)
	require.ErrorIs(t, c.PutStorage(t.Context(), metadata.Storage{Name: "d1", Address: "b1:1"}, false), admin.ErrRefused, "b1 is there")
	require.ErrorIs(t, c.PutStorage(t.Context(), metadata.Storage{Name: "a1", Address: "b1:1"}, true), admin.ErrRefused, "b1 is there")
	require.NoError(t, c.PutStorage(t.Context(), metadata.Storage{Name: "a1", Address: "new:2"}, true))
	s, _, err := metadata.LoadStorage(t.Context(), c.Metadata, "a1")
	require.NoError(t, err)
	require.Equal(t, metadata.Storage{Name: "a1", Address: "new:2", Group: "rack-a", State: metadata.InService}, s)
	require.ErrorIs(t, c.RemoveStorage(t.Context(), "a1"), admin.ErrRefused, "in service")
	n, err := c.DrainStorage(t.Context(), "a1", false)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.ErrorIs(t, c.RemoveStorage(t.Context(), "a1"), admin.ErrRefused, "it has replicas")
	require.ErrorIs(t, c.RemoveStorage(t.Context(), "x1"), admin.ErrInvalid)
}

func TestMoveIsChecked(t *testing.T) {
	c := found(t, admin.Founding{Partitions: 1, Storages: storages("a1", "a2", "b1", "c1")})
	for _, bad := range [][]string{nil, {"x1"}, {"a1", "a1"}} {
		_, _, err := c.Move(t.Context(), 0, bad)
		require.ErrorIs(t, err, admin.ErrInvalid, "%v", bad)
	}
	_, _, err := c.Move(t.Context(), 9, []string{"a1"})
	require.ErrorIs(t, err, admin.ErrInvalid)
	change, warnings, err := c.Move(t.Context(), 0, []string{"a1", "a2"})
	require.NoError(t, err)
	require.Equal(t, []string{"a1", "a2"}, change.To)
	require.Contains(t, warnings, "storages a1, a2 are in one group, rack-a: they may fail together")
	_, err = c.DrainStorage(t.Context(), "c1", false)
	require.NoError(t, err)
	_, _, err = c.Move(t.Context(), 0, []string{"a2"})
	require.NoError(t, err)
	follow(t, c, 1)
	_, _, err = c.Move(t.Context(), 0, []string{"c1"})
	require.ErrorIs(t, err, admin.ErrRefused, "it is draining")
}

// onceBefore has something happen before the first change of a partition's state.
type onceBefore struct {
	metadata.Store
	happen func()
}

func (s *onceBefore) Set(ctx context.Context, key string, value []byte, version metadata.Version) (metadata.Version, error) {
	if happen := s.happen; happen != nil && key == metadata.PartitionKey(0) {
		s.happen = nil
		happen()
	}
	return s.Store.Set(ctx, key, value, version)
}

// A storage that is drained and removed between a change's look at it and its
// compare-and-set is not named by it, though nothing else has touched the partition.
func TestRemovedStorageIsNotNamed(t *testing.T) {
	for name, change := range map[string]func(c *admin.Cluster) error{
		"move":      func(c *admin.Cluster) error { _, _, err := c.Move(t.Context(), 0, []string{"d1"}); return err },
		"rebalance": func(c *admin.Cluster) error { _, err := c.Rebalance(t.Context(), admin.Rebalance{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			c := found(t, admin.Founding{Partitions: 1, Replicas: 3, Storages: storages("a1", "b1", "c1")})
			require.NoError(t, c.PutStorage(t.Context(), storages("d1")[0], false))
			_, err := c.DrainStorage(t.Context(), "a1", false)
			require.NoError(t, err)
			late := &onceBefore{Store: c.Metadata, happen: func() {
				_, err := c.DrainStorage(t.Context(), "d1", false)
				require.NoError(t, err)
				require.NoError(t, c.RemoveStorage(t.Context(), "d1"))
			}}
			require.ErrorContains(t, change(&admin.Cluster{Metadata: late}), `no storage "d1"`)
			m, _, err := metadata.LoadPartition(t.Context(), c.Metadata, 0)
			require.NoError(t, err)
			require.NotContains(t, m.Replicas(), "d1")
		})
	}
}

// A change that brings a replica to a storage while it is being removed keeps it, and so
// does putting it into service again.
func TestStorageIsNotRemovedUnderAChange(t *testing.T) {
	for name, happen := range map[string]func(*testing.T, *admin.Cluster){
		"given a replica of partition 0": func(t *testing.T, c *admin.Cluster) {
			m, version, err := metadata.LoadPartition(t.Context(), c.Metadata, 0)
			require.NoError(t, err)
			m.Target = []string{"d1"}
			_, err = metadata.SavePartition(t.Context(), c.Metadata, 0, m, version)
			require.NoError(t, err)
		},
		"another version": func(t *testing.T, c *admin.Cluster) {
			_, err := c.DrainStorage(t.Context(), "d1", true)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := found(t, admin.Founding{Partitions: 2, Replicas: 3, Storages: storages("a1", "b1", "c1")})
			require.NoError(t, c.PutStorage(t.Context(), storages("d1")[0], false))
			_, err := c.DrainStorage(t.Context(), "d1", false)
			require.NoError(t, err)
			late := &onceBefore{Store: c.Metadata, happen: func() { happen(t, c) }}
			require.ErrorContains(t, (&admin.Cluster{Metadata: late}).RemoveStorage(t.Context(), "d1"), name)
			_, _, err = metadata.LoadStorage(t.Context(), c.Metadata, "d1")
			require.NoError(t, err)
		})
	}
}
