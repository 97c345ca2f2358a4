package txcontext

import (
	"context"

	"github.com/waltz-log/waltz/waltz"
)

// View is what a runner needs of the materialized view that its transaction
// contexts read; every database of package applier implements it. S is the
// database's own read-only handle. All methods may be called concurrently.
type View[S any] interface {
	// Snapshot calls read once with a handle on one consistent, read-only state of
	// the view, in which exactly the transactions 0..mark of the partition have
	// been applied (I7). The handle ends with the call. read's error is returned
	// as it is.
	Snapshot(ctx context.Context, p waltz.Partition, read func(ctx context.Context, s S, mark waltz.ID) error) error
	// Key looks a business key up in a snapshot: the transaction of the partition
	// that carried it, if the view has applied one.
	Key(ctx context.Context, s S, p waltz.Partition, key string) (id waltz.ID, found bool, err error)
	// WaitFor returns when a new snapshot shows transaction id of the partition,
	// whichever process applied it, or with an error that says how far the view is
	// when ctx ends.
	WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error
}

// KeyedView is a View that wants to know of a business key as a snapshot begins,
// since it can look it up on the way. A runner asks for it where there is one.
type KeyedView[S any] interface {
	View[S]
	// SnapshotFor is Snapshot for a reader whose first question is Key, of the same
	// partition and with this key.
	SnapshotFor(ctx context.Context, p waltz.Partition, key string, read func(ctx context.Context, s S, mark waltz.ID) error) error
}
