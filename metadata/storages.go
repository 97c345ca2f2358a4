package metadata

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

// StorageState says whether a storage is to be given replicas.
type StorageState string

const (
	// InService says that replicas may be placed on the storage.
	InService StorageState = "in_service"
	// Draining says that its replicas are to be moved elsewhere, and no new ones
	// come. It serves those that it has until they are gone.
	Draining StorageState = "draining"
)

// Storage is one storage process of the cluster, as servers find it.
type Storage struct {
	Name    string       `json:"name"`    // for ever; in members and targets of partitions
	Address string       `json:"address"` // host:port of its gRPC service
	Group   string       `json:"group"`   // failure domain: what fails together, say a rack; its own name if left empty
	State   StorageState `json:"state"`
}

// Replication is how many storages every partition should have.
type Replication struct {
	Replicas int `json:"replicas"`
}

// ReplicasMax is the highest number of replicas of one partition.
const ReplicasMax = 7

// storageNameMax is the longest storage name, in bytes.
const storageNameMax = 64

// withDefaults fills in what may be left out, and reports every mistake.
func (s Storage) withDefaults() (Storage, error) {
	if s.Group == "" {
		s.Group = s.Name
	}
	if s.State == "" {
		s.State = InService
	}
	var errs []error
	for _, name := range []string{s.Name, s.Group} {
		if err := checkName(name); err != nil {
			errs = append(errs, err)
		}
	}
	if host, port, err := net.SplitHostPort(s.Address); err != nil || host == "" || port == "" {
		errs = append(errs, fmt.Errorf("address %q is not host:port", s.Address))
	}
	if s.State != InService && s.State != Draining {
		errs = append(errs, fmt.Errorf("state %q is neither %s nor %s", s.State, InService, Draining))
	}
	if err := errors.Join(errs...); err != nil {
		return s, fmt.Errorf("storage %q: %w", s.Name, err)
	}
	return s, nil
}

// checkName reports a name that can't be part of a key, or of a list on a
// command line.
func checkName(name string) error {
	ok := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r)
	}
	if name == "" || len(name) > storageNameMax || strings.Trim(name, ".") == "" ||
		strings.ContainsFunc(name, func(r rune) bool { return !ok(r) }) {
		return fmt.Errorf("name %q: want 1 to %d letters, digits, '-', '_' and '.'", name, storageNameMax)
	}
	return nil
}

// LoadStorage reads one storage and its version: [ErrNotFound].
func LoadStorage(ctx context.Context, s Store, name string) (Storage, Version, error) {
	if err := checkName(name); err != nil {
		return Storage{}, Absent, err
	}
	return load[Storage](ctx, s, StorageKey(name))
}

// SaveStorage adds a storage (version [Absent]) or changes one that still has
// the version that was read, and returns the new version. An empty group becomes
// the storage's name, an empty state [InService]. [ErrVersion], [ErrUnknown].
func SaveStorage(ctx context.Context, s Store, storage Storage, version Version) (Version, error) {
	storage, err := storage.withDefaults()
	if err != nil {
		return version, err
	}
	return save(ctx, s, StorageKey(storage.Name), storage, version)
}

// DeleteStorage forgets a storage that still has the version that was read. That
// no partition has it as member or target any more is for the caller to see to.
// [ErrNotFound], [ErrVersion], [ErrUnknown].
func DeleteStorage(ctx context.Context, s Store, name string, version Version) error {
	if err := checkName(name); err != nil {
		return err
	}
	return s.Delete(ctx, StorageKey(name), version)
}

// ListStorages reads all storages, in the order of their names. Watch
// [StoragesKey] to hear of changes.
func ListStorages(ctx context.Context, s Store) ([]Storage, error) {
	names, err := s.List(ctx, StoragesKey)
	if err != nil {
		return nil, err
	}
	var all []Storage
	for _, name := range names {
		storage, _, err := LoadStorage(ctx, s, name)
		if errors.Is(err, ErrNotFound) {
			continue // deleted since the names were listed
		}
		if err != nil {
			return nil, err
		}
		all = append(all, storage)
	}
	return all, nil
}

// LoadReplication reads how many replicas each partition should have, and the
// version: 1 and [Absent] in a cluster that was founded without.
func LoadReplication(ctx context.Context, s Store) (Replication, Version, error) {
	r, version, err := load[Replication](ctx, s, replicationKey)
	if errors.Is(err, ErrNotFound) {
		return Replication{Replicas: 1}, Absent, nil
	}
	return r, version, err
}

// SaveReplication changes how many replicas each partition should have, if that
// still has the version that was read. [ErrVersion], [ErrUnknown].
func SaveReplication(ctx context.Context, s Store, r Replication, version Version) (Version, error) {
	if r.Replicas < 1 || r.Replicas > ReplicasMax {
		return version, fmt.Errorf("%d replicas of each partition, want 1 to %d", r.Replicas, ReplicasMax)
	}
	return save(ctx, s, replicationKey, r, version)
}
