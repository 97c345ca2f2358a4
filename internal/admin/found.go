package admin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/waltz-log/waltz/internal/placement"
	"github.com/waltz-log/waltz/metadata"
)

// Founding says what cluster to found.
type Founding struct {
	Name       string // for people
	Partitions int
	Replicas   int // of each partition; 0: 3, or as many as there are storages
	Storages   []metadata.Storage
}

const replicasDefault = 3

// Found founds a cluster, with replicas placed by groups, and returns its identity
// and every partition's storages. One that is there is refused.
func Found(ctx context.Context, m metadata.Store, f Founding) (metadata.Cluster, [][]string, error) {
	founding, err := f.plan()
	if err != nil {
		return founding.Cluster, nil, err
	}
	err = metadata.Found(ctx, m, founding)
	if errors.Is(err, metadata.ErrVersion) {
		err = refusef("there is a cluster already: %w", err)
	}
	return founding.Cluster, founding.Targets, err
}

// Check returns an [ErrInvalid] if no such cluster can be founded anywhere.
func (f Founding) Check() error {
	_, err := f.plan()
	return err
}

func (f Founding) plan() (metadata.Founding, error) {
	if f.Replicas == 0 {
		f.Replicas = min(replicasDefault, len(f.Storages))
	}
	switch {
	case len(f.Storages) == 0:
		return metadata.Founding{}, invalidf("a cluster needs storages")
	case f.Partitions < 1 || f.Partitions > metadata.PartitionsMax:
		return metadata.Founding{}, invalidf("%d partitions, want 1 to %d", f.Partitions, metadata.PartitionsMax)
	case f.Replicas < 1 || f.Replicas > min(len(f.Storages), metadata.ReplicasMax):
		return metadata.Founding{}, invalidf("%d replicas of each partition, want 1 to %d", f.Replicas, min(len(f.Storages), metadata.ReplicasMax))
	}
	targets, err := placement.Place(places(f.Storages), f.Replicas, f.Partitions)
	if err != nil {
		return metadata.Founding{}, invalidf("%w", err)
	}
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	c := metadata.Cluster{FormatVersion: metadata.FormatVersion, Key: hex.EncodeToString(key[:]), Name: f.Name, Partitions: f.Partitions}
	founding := metadata.Founding{Cluster: c, Storages: f.Storages, Replication: metadata.Replication{Replicas: f.Replicas}, Targets: targets}
	if err := founding.Validate(); err != nil {
		return founding, invalidf("%w", err)
	}
	return founding, nil
}

// places returns storages as placement knows them.
func places(storages []metadata.Storage) (all []placement.Storage) {
	for _, s := range storages {
		group := s.Group
		if group == "" {
			group = s.Name
		}
		all = append(all, placement.Storage{Name: s.Name, Group: group, Draining: s.State == metadata.Draining})
	}
	return all
}
