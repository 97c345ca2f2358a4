package embedded

import (
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/storage"
)

// createInFlightMax bounds how many replicas are created at a time; those that
// come together share a sync.
const createInFlightMax = 64

// openStorage opens the storage in the node's folder and sees to it that it has
// a replica of every partition.
func openStorage(ctx context.Context, o Options, c metadata.Cluster) (*storage.Storage, error) {
	so := o.Storage
	so.Dir, so.FS, so.ClusterKey = path.Join(o.Dir, storageDir), o.FS, c.Key
	if so.Logger == nil {
		so.Logger = o.Logger
	}
	s, err := storage.Open(ctx, so)
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(createInFlightMax)
	for p := range c.Partitions {
		g.Go(func() error {
			_, err := s.CreateReplica(gctx, txn.Partition(p))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(fmt.Errorf("create replicas: %w", err), s.Close())
	}
	return s, nil
}

// checkStorage reports a storage that is not the one that the metadata
// remembers. The sessions would refuse it too, later and again and again. What a
// storage says of a replica that it has closed for damage proves nothing; it
// takes no session.
func checkStorage(ctx context.Context, m metadata.Store, s *storage.Storage) error {
	for _, replica := range s.Replicas() {
		if replica.Closed != nil {
			continue
		}
		state, _, err := metadata.LoadPartition(ctx, m, replica.Partition)
		if err != nil {
			return err
		}
		member, ok := state.Member(storageName)
		if ok && (replica.Promise.Replica.Incarnation != member.Incarnation || replica.Promise.Installed < member.Installed) {
			return &LostError{Partition: replica.Partition}
		}
	}
	return nil
}
