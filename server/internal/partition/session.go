package partition

import (
	"context"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Session is a store session: this server's tenure of the partition. All
// methods may be called concurrently.
type Session interface {
	// ID is the stamp of the records that the session writes.
	ID() txn.SessionID
	// High, HighStamp and HighTime describe the last record of the log as opened,
	// None, 0 and 0 if it is empty. All up to it is committed. HighTime is 0, too, if
	// the record is damaged.
	High() txn.ID
	HighStamp() txn.SessionID
	HighTime() txn.Timestamp
	// Append hands over the next records, the last of which has ID last. It blocks
	// only while the session's bounded queue is full, which it may be for long only
	// while the session is stalled. The frame must not change
	// any more.
	Append(ctx context.Context, frame record.Frame, last txn.ID) error
	// Read returns committed records, whole and checked, from first on: at least
	// one, up to last, about bytesMax bytes. Damage at first is an error of which
	// record.IsCorrupt is true; no more is told of its extent.
	Read(ctx context.Context, first, last txn.ID, bytesMax int) (record.Frame, error)
	// At returns the first committed transaction at or after t, the end of the log
	// if none is that late.
	At(ctx context.Context, t txn.Timestamp) (txn.ID, error)
	// Confirm returns nil if no other session had opened when it was called, so that
	// what is committed here is all that was by then. It waits while that can't be
	// known.
	Confirm(ctx context.Context) error
	// Stalled returns why nothing can be committed for now, since storages are full,
	// or nil. Reads go on, and so does what was handed over when there is room.
	Stalled() error
	// Stalls is readable after Stalled has changed.
	Stalls() <-chan struct{}
	// Done is closed when the session has ended; Err then says why.
	Done() <-chan struct{}
	Err() error
	// Close ends the session. What was handed over before may yet be committed.
	Close(ctx context.Context) error
}

// OpenFunc opens a store session. committed is called from then on with the
// highest committed ID, in order, from one goroutine; it does not block.
type OpenFunc func(ctx context.Context, p txn.Partition, committed func(txn.ID)) (Session, error)
