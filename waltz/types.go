package waltz

import (
	"time"

	"github.com/waltz-log/waltz/internal/txn"
)

// Partition numbers an independent, totally ordered log, from 0.
type Partition = txn.Partition

// ID is the position of a transaction in its partition: dense, from 0.
// As a high-water mark it is the highest transaction seen.
type ID = txn.ID

// None is the high-water mark when nothing has been seen.
const None = txn.None

// Header is the application-defined integer that is streamed with every
// transaction, so that a consumer can skip what it does not want.
type Header = txn.Header

// RequestID names one attempt to append; see [UnknownError].
type RequestID = txn.RequestID

// LockMode says how a transaction takes a lock.
type LockMode = txn.LockMode

// The lock modes. LockRead conflicts if anyone took the lock for write or
// append after the transaction's client high-water mark, and leaves no mark;
// LockWrite conflicts likewise and marks; LockAppend never conflicts and marks.
const (
	LockRead   = txn.LockRead
	LockWrite  = txn.LockWrite
	LockAppend = txn.LockAppend
)

// LockName is the first half of a lock ID; an application declares one for each
// kind of thing it locks: const Account waltz.LockName = "account".
type LockName string

// ID returns the lock ID of one thing of that kind.
func (n LockName) ID(id uint64) LockID { return LockID{Name: n, ID: id} }

// LockID is what an optimistic lock is taken on, scoped to a partition.
type LockID struct {
	Name LockName
	ID   uint64
}

// Lock is a lock ID taken in a mode.
type Lock struct {
	LockID
	Mode LockMode
}

// Transaction is what an application appends.
type Transaction struct {
	Header Header
	Data   []byte // not changed, and not to be changed until Append returns
	Locks  []Lock
	// Key is a business key of at most 255 bytes, or "". It is stored with the
	// transaction and taken as a write lock of its own, so that of two
	// transactions with one key, computed from views that hold neither, only one
	// commits. txcontext completes it to a guarantee that holds for ever.
	Key string
	// HighWaterMark is the client's: the mark of the view that the transaction was
	// computed from. Locks that someone took after it conflict.
	HighWaterMark ID
}

// Committed is a transaction as it is read back from the log. Data and Key
// belong to the reader.
type Committed struct {
	Partition Partition
	ID        ID
	Header    Header
	Time      time.Time // when it was sequenced, UTC, never decreasing in a partition
	Key       string
	Data      []byte
	DataLen   int  // length of the data as committed
	Skipped   bool // Data was left out because the subscriber did not ask for it
}
