// Package damage is what a storage says of bytes that are not what was written,
// and of a disk that does not say what it wrote.
package damage

import (
	"errors"
	"fmt"
	"math"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Unknown is the Last of a range whose end can't be known.
const Unknown txn.ID = math.MaxInt64

// Error says which records of a partition can't be read and where they lay.
// They are never cut and never served; the other replicas have them.
type Error struct {
	Partition   txn.Partition
	First, Last txn.ID // Last is Unknown if the damage reaches to an unknown end
	File        string
	Offset      int64
	Reason      string
}

func (e *Error) Error() string {
	upTo := "an unknown end"
	if e.Last != Unknown {
		upTo = e.Last.String()
	}
	return fmt.Sprintf("partition %d is damaged from transaction %d to %s: %s at %d: %s; repair or reset the replica, or restore a back-up",
		e.Partition, e.First, upTo, e.File, e.Offset, e.Reason)
}

// Unwrap makes record.IsCorrupt true of it: above a storage it only counts that
// asking again is no use.
func (e *Error) Unwrap() error {
	return &record.CorruptError{Offset: e.Offset, Reason: e.Reason}
}

// Is reports whether err is or wraps an *Error.
func Is(err error) bool {
	var d *Error
	return errors.As(err, &d)
}

// SyncError is a failed fsync. What the disk holds is unknown, and it may never
// be asked again: a second fsync can succeed without having written anything. So
// it is final also where its cause is a full disk.
type SyncError struct{ Err error }

func (e *SyncError) Error() string {
	return fmt.Sprintf("sync failed, the disk's state is unknown: %v", e.Err)
}

// Unwrap returns the cause.
func (e *SyncError) Unwrap() error { return e.Err }
