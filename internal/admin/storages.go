package admin

import (
	"context"
	"errors"
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

// PutStorage implements [Operator].
func (c *Cluster) PutStorage(ctx context.Context, s metadata.Storage, update bool) error {
	if _, err := metadata.LoadCluster(ctx, c.Metadata); err != nil {
		return err
	}
	old, version, err := metadata.LoadStorage(ctx, c.Metadata, s.Name)
	switch {
	case err == nil && !update:
		return refusef("there is a storage %s already, at %s", s.Name, old.Address)
	case errors.Is(err, metadata.ErrNotFound) && update:
		return refusef("there is no storage %s", s.Name)
	case err != nil && !errors.Is(err, metadata.ErrNotFound):
		return invalidf("%w", err)
	}
	if update {
		s.State = old.State
		if s.Address == "" {
			s.Address = old.Address
		}
		if s.Group == "" {
			s.Group = old.Group
		}
	}
	if err := c.addressIsFree(ctx, s); err != nil {
		return err
	}
	if _, err = metadata.SaveStorage(ctx, c.Metadata, s, version); err != nil && !metadata.IsStoreError(err) {
		return invalidf("%w", err)
	}
	if err == nil {
		c.logger().Info("storage put", "storage", s.Name, "address", s.Address, "group", s.Group)
	}
	return err
}

// addressIsFree refuses a second name of one storage: its disk would count twice.
func (c *Cluster) addressIsFree(ctx context.Context, s metadata.Storage) error {
	storages, err := metadata.ListStorages(ctx, c.Metadata)
	if err != nil {
		return err
	}
	for _, other := range storages {
		if other.Name != s.Name && other.Address == s.Address {
			return refusef("storage %s is at %s already: two names need two storages", other.Name, s.Address)
		}
	}
	return nil
}

// DrainStorage implements [Operator].
func (c *Cluster) DrainStorage(ctx context.Context, name string, undo bool) (int, error) {
	_, states, err := c.states(ctx)
	if err != nil {
		return 0, err
	}
	s, version, err := c.storage(ctx, name)
	if err != nil {
		return 0, err
	}
	want := metadata.Draining
	if undo {
		want = metadata.InService
	}
	replicas := replicasOf(states, name)
	if s.State == want {
		return replicas, nil
	}
	s.State = want
	_, err = metadata.SaveStorage(ctx, c.Metadata, s, version)
	if err == nil {
		c.logger().Info("storage changed", "storage", name, "state", want, "replicas", replicas)
	}
	return replicas, err
}

// RemoveStorage implements [Operator].
func (c *Cluster) RemoveStorage(ctx context.Context, name string) error {
	s, version, err := c.storage(ctx, name)
	if err != nil {
		return err
	}
	if s.State != metadata.Draining {
		return refusef("storage %s is in service: drain it first", name)
	}
	_, states, err := c.states(ctx)
	if err != nil {
		return err
	}
	if n := replicasOf(states, name); n > 0 {
		return refusef("storage %s has replicas of %d partitions: move them first, say by a rebalance", name, n)
	}
	if err := c.forestall(ctx, name, len(states)); err != nil {
		return err
	}
	if err := metadata.DeleteStorage(ctx, c.Metadata, name, version); err != nil {
		return err
	}
	c.logger().Info("storage removed", "storage", name)
	return nil
}

// forestall makes every change fail that was begun before the storage drained and may
// bring a replica there: it writes each partition's state as it is, which gives it
// another version. A change that begins from here on sees that the storage drains, or is
// gone, and refuses it. Should the storage be put into service again meanwhile, then its
// own version is another one, and the removal fails.
func (c *Cluster) forestall(ctx context.Context, name string, partitions int) error {
	for p := range partitions {
		err := c.change(ctx, txn.Partition(p), func(m *metadata.PartitionState) error {
			if slices.Contains(m.Replicas(), name) {
				return refusef("storage %s was given a replica of partition %d meanwhile: move it first", name, p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) storage(ctx context.Context, name string) (metadata.Storage, metadata.Version, error) {
	s, version, err := metadata.LoadStorage(ctx, c.Metadata, name)
	if errors.Is(err, metadata.ErrNotFound) {
		err = invalidf("there is no storage %q", name)
	}
	return s, version, err
}

// replicasOf counts the partitions that have a storage as a member or target.
func replicasOf(states []metadata.PartitionState, name string) (n int) {
	for _, m := range states {
		if slices.Contains(m.Replicas(), name) {
			n++
		}
	}
	return n
}
