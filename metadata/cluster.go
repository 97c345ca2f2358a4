package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

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

// Founding is what a cluster begins with.
type Founding struct {
	Cluster     Cluster
	Storages    []Storage
	Replication Replication // zero: not stored
	Targets     [][]string  // storages of each partition, by its number
}

// Create founds a cluster whose partitions all have the same target; see [Found].
func Create(ctx context.Context, s Store, c Cluster, target []string) error {
	f := Founding{Cluster: c}
	if c.Partitions <= PartitionsMax {
		f.Targets = slices.Repeat([][]string{target}, max(c.Partitions, 0))
	}
	return Found(ctx, s, f)
}

// Found founds a cluster: its storages, the state of every partition, and last
// the cluster itself, so that a crash in between leaves no cluster and Found can
// be called again. [ErrVersion] if there is one already. If FormatVersion is 0 it
// is set to the current one.
func Found(ctx context.Context, s Store, f Founding) error {
	c := f.Cluster
	if c.FormatVersion == 0 {
		c.FormatVersion = FormatVersion
	}
	if err := f.Validate(); err != nil {
		return fmt.Errorf("create cluster: %w", err)
	}
	if _, err := LoadCluster(ctx, s); !errors.Is(err, ErrNotFound) {
		if err == nil {
			err = &KeyError{Op: "set", Key: clusterKey, Err: ErrVersion}
		}
		return fmt.Errorf("create cluster %q: %w", c.Name, err)
	}
	if err := f.saveStorages(ctx, s); err != nil {
		return fmt.Errorf("create cluster %q: %w", c.Name, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(createInFlightMax)
	for p, target := range f.Targets {
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

// Validate reports every mistake in what a cluster is to begin with.
func (f Founding) Validate() error {
	errs := []error{f.Cluster.validate()}
	if len(f.Targets) != f.Cluster.Partitions {
		errs = append(errs, fmt.Errorf("%d targets for %d partitions", len(f.Targets), f.Cluster.Partitions))
	}
	names := map[string]string{} // by address
	for _, storage := range f.Storages {
		_, err := storage.withDefaults()
		errs = append(errs, err)
		if other, taken := names[storage.Address]; taken {
			errs = append(errs, fmt.Errorf("storages %q and %q are both at %s: two names need two storages", other, storage.Name, storage.Address))
		}
		names[storage.Address] = storage.Name
	}
	for p, target := range f.Targets {
		if name, ok := namedTwice(target); ok {
			errs = append(errs, fmt.Errorf("partition %d: storage %q is named twice: one disk would count for two", p, name))
			break // most often it is the same in all
		}
	}
	return errors.Join(errs...)
}

func namedTwice(target []string) (string, bool) {
	for i, name := range target {
		if slices.Contains(target[:i], name) {
			return name, true
		}
	}
	return "", false
}

// saveStorages makes the storages what the founding says, also those that an
// interrupted one has left.
func (f Founding) saveStorages(ctx context.Context, s Store) error {
	left, err := s.List(ctx, StoragesKey)
	if err != nil {
		return err
	}
	for _, name := range left {
		_, version, err := s.Get(ctx, StorageKey(name))
		if err == nil && !slices.ContainsFunc(f.Storages, func(storage Storage) bool { return storage.Name == name }) {
			err = DeleteStorage(ctx, s, name, version)
		}
		if err != nil {
			return err
		}
	}
	for _, storage := range f.Storages {
		_, version, err := LoadStorage(ctx, s, storage.Name)
		if err == nil || errors.Is(err, ErrNotFound) {
			_, err = SaveStorage(ctx, s, storage, version)
		}
		if err != nil {
			return err
		}
	}
	if f.Replication == (Replication{}) {
		return nil
	}
	_, version, err := LoadReplication(ctx, s)
	if err != nil {
		return err
	}
	_, err = SaveReplication(ctx, s, f.Replication, version)
	return err
}

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
