package txcontext

import (
	"context"
	"slices"

	"github.com/waltz-log/waltz/waltz"
)

// Context is one transaction context: what the application wants done, said so
// that it can be tried many times. S is the view's read-only handle.
type Context[S any] struct {
	// Partition is where the transaction goes. All its locks are scoped to it.
	Partition waltz.Partition

	// Key is a business key of at most 255 bytes, such as an HTTP Idempotency-Key
	// or the number of an imported row; "" is none. Of all contexts of a partition
	// with one key a single one commits, for ever, across processes, restarts and
	// failovers: the others end as already done. What they would have written is
	// not compared with what was.
	Key string

	// Execute reads the snapshot s and fills b, or declines with [Decline]. Any
	// other error fails the run. It may be called many times and must have no
	// effect but on b; ctx and s end when it returns.
	//
	// Locks guard only their own partition: data of other partitions can be read
	// through s, but it is not protected against change.
	Execute func(ctx context.Context, s S, b *Builder) error

	// The callbacks are conveniences of this process and are lost in a crash; a
	// durable side effect is an applier of its own. Each may be nil and must not
	// block for long, since it holds one place in flight.

	// Completed is called when the transaction is committed or was already done.
	Completed func(Result)
	// Applied is called after Completed, when the view shows the transaction.
	Applied func(Result)
	// Failed is called instead of Completed with the error that the run ends with,
	// a decline included.
	Failed func(Result, error)
}

// Result tells how a run ended.
type Result struct {
	// Partition is the context's.
	Partition waltz.Partition
	// ID is the committed transaction, or waltz.None if the run ended otherwise.
	ID waltz.ID
	// AlreadyDone says that ID is of an earlier run with the same key.
	AlreadyDone bool
	// Attempts counts the executions; those refused as stale are left out.
	Attempts int
	// Mark is the high-water mark of the snapshot that the last execution read, and
	// on which a decline was decided.
	Mark waltz.ID
}

// Builder collects the transaction of one execution. It belongs to Execute and
// must not be kept.
type Builder struct {
	put  bool
	last waltz.Transaction
}

// Write takes locks for write: the transaction is refused if anyone took one of
// them for write or append after the snapshot, and marks them against others.
func (b *Builder) Write(ids ...waltz.LockID) { b.lock(waltz.LockWrite, ids) }

// Read takes locks for read: refused like Write, but leaves no mark, so that
// readers of one lock don't conflict with each other.
func (b *Builder) Read(ids ...waltz.LockID) { b.lock(waltz.LockRead, ids) }

// Append takes locks for append: never refused, but marks them, so that many may
// add at once while one that has read the sum is refused.
func (b *Builder) Append(ids ...waltz.LockID) { b.lock(waltz.LockAppend, ids) }

// Put sets the header and data; the last call counts. It makes the builder a
// [waltz.Putter], so that a waltz.Kind can fill it. data must not be changed
// afterwards.
func (b *Builder) Put(header waltz.Header, data []byte) {
	b.put, b.last.Header, b.last.Data = true, header, data
}

func (b *Builder) lock(mode waltz.LockMode, ids []waltz.LockID) {
	b.last.Locks = slices.Grow(b.last.Locks, len(ids))
	for _, id := range ids {
		b.last.Locks = append(b.last.Locks, waltz.Lock{LockID: id, Mode: mode})
	}
}

// transaction returns what was built, to be appended under key at mark.
func (b *Builder) transaction(key string, mark waltz.ID) (waltz.Transaction, error) {
	if !b.put {
		return waltz.Transaction{}, ErrNothingPut
	}
	tx := b.last
	tx.Key, tx.HighWaterMark = key, mark
	return tx, nil
}
