package storage

import (
	"context"
	"errors"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/wire"
)

// sentinels is the table of errors that travel as a reason alone. Damage,
// corruption and refusals carry more.
var sentinels = [...]struct {
	err    error
	reason wire.StorageReason
}{
	{ErrFull, wire.StorageDiskFull},
	{ErrNoReplica, wire.StorageNoReplica},
	{ErrOutOfRange, wire.StorageOutOfRange},
	{ErrWithoutData, wire.StorageWithoutData},
	{ErrFailed, wire.StorageHasFailed},
	{ErrClosed, wire.StorageClosed},
	{ErrOtherCluster, wire.StorageOtherCluster},
	{session.ErrBusy, wire.StorageBusy},
	{ErrOutOfService, wire.StorageOutOfService},
	{ErrNeedsReset, wire.StorageNeedsReset},
	{ErrNotCommitted, wire.StorageNotCommitted},
	{ErrOtherRecords, wire.StorageOtherRecords},
	{ErrOtherIncarnation, wire.StorageOtherReplica},
	{errors.ErrUnsupported, wire.StorageUnimplemented},
}

// failure returns an error as it travels; nil if it is not one of the contract's.
func failure(err error) *wire.StorageError {
	if e, ok := errors.AsType[*wire.StorageError](err); ok {
		return e
	}
	if r, ok := errors.AsType[*session.RefusedError](err); ok {
		return &wire.StorageError{Reason: wire.StorageRefused, Message: err.Error(), Refused: r}
	}
	if d, ok := errors.AsType[*DamagedError](err); ok {
		return &wire.StorageError{Reason: wire.StorageDamaged, Message: err.Error(), Damage: damageOf(d)}
	}
	if c, ok := errors.AsType[*record.CorruptError](err); ok {
		return &wire.StorageError{Reason: wire.StorageCorrupt, Message: err.Error(), Damage: &wire.StorageDamage{Offset: c.Offset, Reason: c.Reason}}
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return wire.FailStorage(s.reason, "%s", err)
		}
	}
	return nil
}

func damageOf(d *DamagedError) *wire.StorageDamage {
	return &wire.StorageDamage{Partition: d.Partition, First: d.First, Last: d.Last, File: d.File, Offset: d.Offset, Reason: d.Reason}
}

// status returns what a handler returns for an error.
func status(err error) error {
	if err == nil {
		return nil
	}
	if f := failure(err); f != nil {
		return wire.StorageStatus(f)
	}
	return wire.StorageStatus(err)
}

// failed returns what an append's error is answered with, whatever it is.
func failed(err error) *wire.StorageError {
	if f := failure(err); f != nil {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return failure(ErrClosed)
	}
	return wire.FailStorage(wire.StorageHasFailed, "%s", err)
}
