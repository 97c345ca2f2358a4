package storage

import (
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// When a storage is opened.
var (
	// ErrLocked: another process has the folder.
	ErrLocked = vfs.ErrLocked
	// ErrOtherCluster: the folder holds data of another cluster.
	ErrOtherCluster = header.ErrOtherCluster
	// ErrNewerFormat: the folder was written by a newer Waltz.
	ErrNewerFormat = header.ErrNewerFormat
	// ErrHeaderDamaged: a header that the storage can't do without is damaged.
	ErrHeaderDamaged = header.ErrDamaged
)

// When it is used.
var (
	// ErrClosed: Close was called.
	ErrClosed = errors.New("storage is closed")
	// ErrFailed: the storage stopped for good, since the disk failed in a way that
	// leaves open what it holds. Start the process again.
	ErrFailed = errors.New("storage has failed")
	// ErrFull: the disk is full. Nothing was changed; writing resumes by itself
	// when there is room.
	ErrFull = session.ErrFull
	// ErrNoReplica: the storage has no replica of the partition.
	ErrNoReplica = errors.New("no replica of the partition")
	// ErrWithoutData: a frame that a feed made, with the data of records left out,
	// is not a part of the log. Nothing was changed.
	ErrWithoutData = errors.New("records without their data can't be stored")
	// ErrOutOfRange: the replica does not hold the records (yet).
	ErrOutOfRange = errors.New("record is not in the log")
)

// DamagedError says which records of a partition can't be read, and where they
// lie. Reads of them are refused; if the journal itself lost something of the
// partition, everything but reads is.
type DamagedError = damage.Error

// FullError is ErrFull with what failed.
type FullError struct{ Err error }

func (e *FullError) Error() string {
	return fmt.Sprintf("%v: make room, writing will resume by itself: %v", ErrFull, e.Err)
}

// Unwrap makes errors.Is find ErrFull and the cause.
func (e *FullError) Unwrap() []error { return []error{ErrFull, e.Err} }

// When a replica is repaired, reset or removed.
var (
	// ErrOutOfService: SetAvailable took the replica out of service.
	ErrOutOfService = errors.New("replica is out of service")
	// ErrNeedsReset: its journal is damaged, so that a promise may be lost. It can't
	// be repaired, only reset.
	ErrNeedsReset = errors.New("replica's journal is damaged: reset it, and it is filled again from the others")
	// ErrNotCommitted: the records are not known to be committed, so another replica
	// may rightly have others. Nothing was changed; try again when more is committed.
	ErrNotCommitted = errors.New("damaged records are not known to be committed")
	// ErrOtherRecords: what the source has are not the records that were here.
	ErrOtherRecords = errors.New("source has other records")
	// ErrOtherIncarnation: the replica is not the one that the caller means any more.
	ErrOtherIncarnation = errors.New("replica has another incarnation")
)
