package storage

import (
	"context"
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/partition"
)

// Service says whether a replica takes messages.
type Service = partition.Service

// The states of service.
const (
	InService    = partition.InService    // takes messages
	OutOfService = partition.OutOfService // SetAvailable(false): keeps its promises, takes nothing
	Unassigned   = partition.Unassigned   // RemoveReplica with its files kept
	Removing     = partition.Removing     // RemoveReplica, its files are being deleted
)

// Description is Info with what has to be read from the disk.
type Description struct {
	Info
	Service        Service
	Bytes          int64         // of segments, without their indexes, and of what waits for them
	Oldest, Newest txn.Timestamp // of the first record and of the last; 0 if there is none, or damage hides it
	OldestReadable bool          // false: Oldest is not known
}

// Describe describes one replica, also one that is out of service, or that was
// removed and has files. Errors: [ErrNoReplica].
func (s *Storage) Describe(ctx context.Context, p txn.Partition) (Description, error) {
	r := s.found(p)
	if r == nil {
		return Description{}, fmt.Errorf("describe replica of partition %d: %w", p, ErrNoReplica)
	}
	return s.describe(ctx, r), nil
}

// List describes the replicas of some partitions, or of all if none is named, in the
// order of the partitions, those that were removed and have files too. Each costs
// reads from the disk, so ask for no more than is wanted.
func (s *Storage) List(ctx context.Context, only ...txn.Partition) ([]Description, error) {
	var all []Description
	for _, r := range s.replicas(only...) {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		all = append(all, s.describe(ctx, r))
	}
	return all, nil
}

func (s *Storage) describe(ctx context.Context, r *replica) Description {
	s.mu.Lock()
	d := Description{Info: s.infoLocked(r), Service: r.NextService}
	for _, c := range r.Tail {
		d.Bytes += int64(max(c.Len, len(c.Frame)))
	}
	s.mu.Unlock()
	d.Bytes += r.log.Bytes()
	d.Oldest, d.Newest = s.timeOf(ctx, r, 0), s.timeOf(ctx, r, d.Promise.Last)
	d.OldestReadable = d.Oldest != 0 || d.Promise.Last < 0
	return d
}

func (s *Storage) infoLocked(r *replica) Info {
	return Info{
		Partition: r.Now.Partition, Promise: r.Now.Promise(), Segments: len(r.log.Extents()),
		Damage: slices.Clone(r.Damage), Closed: r.Closed,
	}
}

// timeOf returns a record's timestamp, 0 if it can't be read.
func (s *Storage) timeOf(ctx context.Context, r *replica, id txn.ID) txn.Timestamp {
	if id < 0 {
		return 0
	}
	f, err := s.readReplica(ctx, r, id, id, 0, nil)
	if err != nil {
		return 0
	}
	for rec := range f.Trusted() {
		return rec.Time
	}
	return 0
}
