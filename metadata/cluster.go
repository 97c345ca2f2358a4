package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// FormatVersion is the version of everything that this package stores. A
// cluster of a newer one is refused.
const FormatVersion = 1

// PartitionsMax is the highest number of partitions of a cluster.
const PartitionsMax = 65536

// ErrNewerFormat: the cluster was created or upgraded by a newer Waltz.
var ErrNewerFormat = errors.New("cluster metadata has a newer format than this version knows")

// Cluster is the identity of a log. It never changes after [Create].
type Cluster struct {
	FormatVersion int    `json:"format_version"`
	Key           string `json:"key"` // random; storages and clients refuse another cluster's
	Name          string `json:"name"`
	Partitions    int    `json:"partitions"`
}

// PartitionState is what the metadata remembers of a partition: M of
// PROTOCOL.md.
type PartitionState = session.PartitionState

// Member is a replica of the session that opened last.
type Member = session.Member

// Create founds a cluster: the state of every partition with the given
// target, and last the cluster itself, so that a crash in between leaves no
// cluster and Create can be called again. [ErrVersion] if there is one already.
// If FormatVersion is 0 it is set to the current one.
func Create(ctx context.Context, s Store, c Cluster, target []string) error {
	if c.FormatVersion == 0 {
		c.FormatVersion = FormatVersion
	}
	if err := c.validate(); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	if _, err := LoadCluster(ctx, s); !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = &KeyError{Op: "set", Key: clusterKey, Err: ErrVersion}
		}
		return fmt.Errorf("create cluster %q: %w", c.Name, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(createInFlightMax)
	for p := range c.Partitions {
		g.Go(func() error { return createPartition(gctx, s, txn.Partition(p), target) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("create cluster %q: %w", c.Name, err)
	}
	if _, err := save(ctx, s, clusterKey, c, Absent); err != nil {
		return fmt.Errorf("create cluster %q: %w", c.Name, err)
	}
	return nil
}

// createInFlightMax bounds how many partitions Create writes at a time; a store
// that groups changes makes few writes of them.
const createInFlightMax = 256

func (c Cluster) validate() error {
	var errs []error
	if c.Key == "" {
		errs = append(errs, errors.New("its key is empty"))
	}
	if c.Partitions < 1 || c.Partitions > PartitionsMax {
		errs = append(errs, fmt.Errorf("%d partitions, want 1 to %d", c.Partitions, PartitionsMax))
	}
	if c.FormatVersion > FormatVersion {
		errs = append(errs, fmt.Errorf("%w: %d, this one knows up to %d", ErrNewerFormat, c.FormatVersion, FormatVersion))
	}
	return errors.Join(errs...)
}

// createPartition makes the state of a new partition, or renews that of an
// interrupted Create. One that a session has claimed belongs to a log and stays.
func createPartition(ctx context.Context, s Store, p txn.Partition, target []string) error {
	found, version, err := LoadPartition(ctx, s, p)
	switch {
	case errors.Is(err, ErrNotFound):
		version = Absent
	case err != nil:
		return err
	case found.Session > 0:
		return fmt.Errorf("partition %d has had a session already: the metadata has lost its cluster entry", p)
	}
	_, err = SavePartition(ctx, s, p, PartitionState{Target: target}, version)
	return err
}

// LoadCluster reads the cluster's identity: [ErrNotFound] if there is none,
// [ErrNewerFormat].
func LoadCluster(ctx context.Context, s Store) (Cluster, error) {
	c, _, err := load[Cluster](ctx, s, clusterKey)
	if err == nil {
		err = c.validate()
	}
	return c, err
}

// LoadPartition reads a partition's state and its version. [ErrNotFound] is for
// the operator: the state is created with the cluster, so a missing one was
// lost and never means an empty log.
func LoadPartition(ctx context.Context, s Store, p txn.Partition) (PartitionState, Version, error) {
	return load[PartitionState](ctx, s, PartitionKey(p))
}

// SavePartition changes a partition's state if it still has the version that
// was read, and returns the new one. [ErrVersion], [ErrUnknown].
func SavePartition(ctx context.Context, s Store, p txn.Partition, m PartitionState, version Version) (Version, error) {
	return save(ctx, s, PartitionKey(p), m, version)
}

func load[T any](ctx context.Context, s Store, key string) (v T, version Version, err error) {
	data, version, err := s.Get(ctx, key)
	if err != nil {
		return v, version, err
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return v, version, &KeyError{Op: "decode", Key: key, Err: err}
	}
	return v, version, nil
}

func save[T any](ctx context.Context, s Store, key string, v T, version Version) (Version, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return version, &KeyError{Op: "encode", Key: key, Err: err}
	}
	return s.Set(ctx, key, data, version)
}
