package storage

import (
	"context"
	"errors"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// Reset says which replica to begin anew.
type Reset struct {
	Partition txn.Partition
	// Incarnation is the one that the caller means, so that a repeated call does not
	// reset twice. Zero: whichever it is.
	Incarnation session.Incarnation
	// Keep keeps the verified start of the log, so that less has to be copied from
	// other replicas.
	Keep bool
}

// ResetDone says what Reset did.
type ResetDone struct {
	Replica session.Replica // its new identity
	Last    txn.ID          // last record kept
}

// Reset gives a replica a new incarnation.
func (s *Storage) Reset(ctx context.Context, m Reset) (ResetDone, error) {
	return ResetDone{}, errors.ErrUnsupported
}

// Remove says which replica to give up.
type Remove struct {
	Partition txn.Partition
	// Incarnation is the one that the caller means. Zero: whichever it is.
	Incarnation session.Incarnation
	// Keep leaves its files on the disk: a later CreateReplica uses them.
	Keep bool
}

// RemoveReplica gives up a replica.
func (s *Storage) RemoveReplica(ctx context.Context, m Remove) error { return errors.ErrUnsupported }

// SetAvailable takes a replica out of service, or back into it.
func (s *Storage) SetAvailable(ctx context.Context, p txn.Partition, available bool) error {
	return errors.ErrUnsupported
}
