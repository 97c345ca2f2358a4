package applier

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/waltz"
)

// Snapshot calls read once with a handle on one consistent, read-only state of
// the view, in which exactly the transactions 0..mark of the partition have been
// applied (I7). The handle ends with the call. read's error is returned as it is.
// Data of other partitions can be read too, but their marks are not told, and
// no lock protects them.
func (a *Applier[Tx, S]) Snapshot(ctx context.Context, p waltz.Partition, read func(ctx context.Context, s S, mark waltz.ID) error) error {
	return a.SnapshotFor(ctx, p, "", read)
}

// SnapshotFor is Snapshot for a reader whose first question is Key, of the same
// partition and with this key: some databases answer it with the snapshot's
// beginning, which spares a round trip.
func (a *Applier[Tx, S]) SnapshotFor(ctx context.Context, p waltz.Partition, key string, read func(ctx context.Context, s S, mark waltz.ID) error) error {
	part, err := a.partition(p)
	if err != nil {
		return err
	}
	seen := func(ctx context.Context, s S, mark waltz.ID) error {
		part.shows(mark)
		return read(ctx, s, mark)
	}
	if keyed, is := a.db.(KeyedDatabase[S]); is && key != "" {
		return keyed.SnapshotFor(ctx, part.ref, key, seen)
	}
	return a.db.Snapshot(ctx, part.ref, seen)
}

// Key looks a business key up in a snapshot: the transaction of the partition
// that carried it, if the view has applied one.
func (a *Applier[Tx, S]) Key(ctx context.Context, s S, p waltz.Partition, key string) (id waltz.ID, found bool, err error) {
	part, err := a.partition(p)
	if err != nil {
		return waltz.None, false, err
	}
	return a.db.Key(ctx, s, part.ref, key)
}

// HighWaterMark reads the view's mark of a partition from the database.
func (a *Applier[Tx, S]) HighWaterMark(ctx context.Context, p waltz.Partition) (waltz.ID, error) {
	part, err := a.partition(p)
	if err != nil {
		return waltz.None, err
	}
	row, err := a.db.Read(ctx, part.ref)
	if err != nil {
		return waltz.None, fmt.Errorf("view %s: read mark of partition %d: %w", a.o.Name, p, err)
	}
	part.shows(row.HighWaterMark)
	return row.HighWaterMark, nil
}

// WaitFor returns when a new snapshot shows transaction id of the partition,
// whichever instance applied it, or with a [*WaitError] that says how far the
// view is when ctx ends. What this instance applies is told at once; what others
// apply is found by reading the mark again and again, with pauses that grow.
func (a *Applier[Tx, S]) WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error {
	part, err := a.partition(p)
	if err != nil {
		return err
	}
	return part.waitFor(ctx, id)
}
