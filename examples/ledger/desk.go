package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
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
	circuit *circuit
	turns   *turns
	ends    context.Context // with close
	end     context.CancelFunc

	draining atomic.Bool // no more requests should be sent here

	mu     sync.Mutex
	closed bool
	wait   sync.WaitGroup // for turns that end when the view shows a transfer
}

func newDesk(h *house, c *circuit) *desk {
	d := &desk{house: h, circuit: c, turns: newTurns()}
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
	leave, err := d.circuit.enter()
	if err != nil {
		return txcontext.Result{ID: waltz.None}, err
	}
	defer leave()
	res, err := d.ledger.Open(ctx, a, depositMinor, on, opts...)
	return res, d.told(err)
}

func (d *desk) Transfer(ctx context.Context, o ledger.Order, opts ...txcontext.Option) (txcontext.Result, error) {
	leave, err := d.circuit.enter()
	if err != nil {
		return txcontext.Result{ID: waltz.None}, err
	}
	defer leave()
	done, err := d.turns.take(ctx, o.From)
	if err != nil {
		return txcontext.Result{ID: waltz.None}, &txcontext.ExpiredError{Partition: d.PartitionOf(o.From), Cause: err, Last: errBusy}
	}
	res, err := d.ledger.Transfer(ctx, o, opts...)
	if d.told(err) != nil || res.AlreadyDone {
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
	return d.told(d.view.Snapshot(ctx, p, read))
}

// told has it logged, once, when requests begin to meet trouble of the database, and when
// they don't any more.
func (d *desk) told(err error) error {
	switch {
	case err == nil:
		d.trouble.over(d.logger)
	case d.Passes(err):
		d.trouble.tell(d.logger, err)
	}
	return err
}

func (d *desk) Passes(err error) bool {
	f, is := d.view.Fault(err)
	return is && f.Class.Transient()
}

func (d *desk) Ready(ctx context.Context) map[string]error {
	checks := map[string]error{"applier": d.applying(), "log": d.reachable(ctx), "database": d.answers(ctx)}
	if checks["database"] == nil { // else it can't tell
		checks["migrations"] = d.migrated(ctx)
	}
	if d.draining.Load() {
		checks["drain"] = errors.New("this instance is being stopped")
	}
	return checks
}

// answers tells whether the view's database does.
func (d *desk) answers(ctx context.Context) error {
	_, _, err := view.FindAccount(ctx, d.view.Ask(), 0)
	return d.told(err)
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
