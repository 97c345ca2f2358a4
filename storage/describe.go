package storage

import (
	"context"
	"errors"

	"github.com/waltz-log/waltz/internal/txn"
)

// Service says whether a replica takes messages.
type Service uint8

// The states of service.
const (
	InService    Service = iota // takes messages
	OutOfService                // SetAvailable(false): keeps its promises, takes nothing
	Unassigned                  // RemoveReplica with its files kept
	Removing                    // RemoveReplica, its files are being deleted
)

// Description is Info with what has to be read from the disk.
type Description struct {
	Info
	Service        Service
	Bytes          int64         // of segments, their indexes, and what waits for them
	Oldest, Newest txn.Timestamp // of the first record and of the last; 0 if there is none
	OldestReadable bool          // false: damage hides it
}

// Describe describes one replica, also one out of service or unassigned.
func (s *Storage) Describe(ctx context.Context, p txn.Partition) (Description, error) {
	return Description{}, errors.ErrUnsupported
}

// List describes all replicas, in the order of their partitions.
func (s *Storage) List(ctx context.Context) ([]Description, error) { return nil, errors.ErrUnsupported }
