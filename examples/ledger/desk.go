package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/examples/ledger/api"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// desk is where the API finds the house.
type desk struct {
	*house
	turns *turns
	ends  context.Context // with close
	end   context.CancelFunc

	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup // for turns that end when the view shows a transfer
}

func newDesk(h *house) *desk {
	d := &desk{house: h, turns: newTurns()}
	d.ends, d.end = context.WithCancel(context.Background())
	return d
}

// close ends all turns.
func (d *desk) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.end()
	d.wait.Wait()
}

// whenShown ends a turn when the view shows a transaction, and at once if that can't be
// waited for: a turn guards nothing.
func (d *desk) whenShown(res txcontext.Result, done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		done()
		return
	}
	d.wait.Go(func() {
		defer done()
		_ = d.view.WaitFor(d.ends, res.Partition, res.ID)
	})
}

var _ api.Ledger = (*desk)(nil)

func (d *desk) Partitions() int { return d.client.Partitions() }

func (d *desk) PartitionOf(a ledger.Account) waltz.Partition { return d.ledger.PartitionOf(a) }

func (d *desk) Open(ctx context.Context, a ledger.Account, depositMinor int64, on ledger.Date, opts ...txcontext.Option) (txcontext.Result, error) {
	return d.ledger.Open(ctx, a, depositMinor, on, opts...)
}

func (d *desk) Transfer(ctx context.Context, o ledger.Order, opts ...txcontext.Option) (txcontext.Result, error) {
	done, err := d.turns.take(ctx, o.From)
	if err != nil {
		return txcontext.Result{ID: waltz.None}, &txcontext.ExpiredError{Partition: d.PartitionOf(o.From), Cause: err, Last: errBusy}
	}
	res, err := d.ledger.Transfer(ctx, o, opts...)
	if err != nil || res.AlreadyDone {
		done()
		return res, err
	}
	d.whenShown(res, done)
	return res, nil
}

// errBusy is why a transfer did not get its turn.
var errBusy = errors.New("other transfers from its account took all the time")

func (d *desk) WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error {
	return d.view.WaitFor(ctx, p, id)
}

func (d *desk) Read(ctx context.Context, p waltz.Partition, read func(context.Context, view.Snapshot, waltz.ID) error) error {
	return d.view.Snapshot(ctx, p, read)
}

func (d *desk) Passes(err error) bool {
	f, is := d.view.Fault(err)
	return is && f.Class.Transient()
}

func (d *desk) Ready(ctx context.Context) map[string]error {
	return map[string]error{"migrations": d.migrated(ctx), "applier": d.applying(), "log": d.reachable(ctx)}
}

func (d *desk) migrated(ctx context.Context) error {
	pending, err := d.view.HasPending(ctx)
	if err == nil && pending {
		err = errors.New("the tables are not those of this version")
	}
	return err
}

// applying tells of partitions that are not followed.
func (d *desk) applying() error {
	var errs []error
	for _, s := range d.view.Status() {
		if s.State == applier.StateIdle || s.State == applier.StateRetrying || s.State == applier.StateStopped {
			errs = append(errs, fmt.Errorf("partition %d is %s since %s %s", s.Partition, s.State, s.Since.UTC().Format(time.RFC3339), s.Fault.Code))
		}
	}
	return errors.Join(errs...)
}

func (d *desk) reachable(ctx context.Context) error {
	for p := range waltz.Partition(d.client.Partitions()) {
		if _, err := d.client.HighWaterMark(ctx, p); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return nil
}
