package waltz

import (
	"errors"
	"fmt"
)

// Errors of a call that was wrong.
var (
	ErrAddress      = errors.New("address is malformed")
	ErrTooLarge     = errors.New("transaction is too large")
	ErrTooManyLocks = errors.New("transaction has too many locks")
	ErrInvalid      = errors.New("transaction is malformed")
	ErrNoPartition  = errors.New("partition is out of range")
	ErrOutOfRange   = errors.New("transaction is beyond the log's end")
	ErrOtherCluster = errors.New("address belongs to another cluster")
	ErrClosed       = errors.New("client is closed")
)

// Errors of a log that can't serve now. Append waits these out until its
// context ends; they are seen as the cause inside an [UnknownError] or from
// Dial, Read and the like.
var (
	ErrUnavailable = errors.New("log is unavailable")
	ErrStorageFull = errors.New("storages have no space left")
	ErrCorrupt     = errors.New("log is damaged")
)

// LockConflictError refuses a transaction that was computed from stale state:
// TransactionID took one of its locks after its high-water mark. Execute again
// when the view has applied that ID.
type LockConflictError struct {
	Partition     Partition
	TransactionID ID
}

func (e *LockConflictError) Error() string {
	return fmt.Sprintf("lock conflict in partition %d with transaction %d", e.Partition, e.TransactionID)
}

// StaleError refuses a transaction whose high-water mark lies below what the
// server remembers locks for. Execute again when the view has reached Floor.
type StaleError struct {
	Partition Partition
	Floor     ID
}

func (e *StaleError) Error() string {
	return fmt.Sprintf("high-water mark is stale in partition %d: locks are remembered above transaction %d only", e.Partition, e.Floor)
}

// UnknownError says that the caller's context ended before the fate of an
// append was known: it may have been committed, may yet be, or never will be.
// [Client.Resolve] finds out. It wraps the context's error and the last trouble
// on the way to the server, if any; or [ErrCorrupt], if the log is damaged where
// the transaction may have been committed before.
type UnknownError struct {
	Partition Partition
	RequestID RequestID
	Err       error

	attempt *attempt // what Resolve sends again
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("outcome of append %s in partition %d is unknown: %v", e.RequestID, e.Partition, e.Err)
}

// Unwrap returns the cause.
func (e *UnknownError) Unwrap() error { return e.Err }
