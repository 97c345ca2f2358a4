package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// load is the demo's: many clients that transfer at once.
type load struct {
	*house
	seed      uint64
	transfers int
	stderr    io.Writer

	base     ledger.Account // the demo's accounts come after it
	crossing int            // transfers between partitions
	returned int64
	took     time.Duration

	committed, declined, conflicts, retries atomic.Int64
	appended, applied                       *latencies
}

func newLoad(seed uint64, transfers int, stderr io.Writer) *load {
	return &load{seed: seed, transfers: transfers, stderr: stderr, appended: newLatencies(), applied: newLatencies()}
}

// hooks count what the clients' runs meet.
func (d *load) hooks() txcontext.Hooks {
	return txcontext.Hooks{
		Appended: func(_ waltz.Partition, took time.Duration, err error) {
			if err == nil {
				d.appended.add(took)
			} else if _, is := errors.AsType[*waltz.LockConflictError](err); is {
				d.conflicts.Add(1)
			}
		},
		Retried: func(waltz.Partition, error, time.Duration) { d.retries.Add(1) },
		Applied: func(_ txcontext.Result, took time.Duration) { d.applied.add(took) },
	}
}

// run opens the accounts, transfers, and waits until nothing is pending.
func (d *load) run(ctx context.Context) error {
	if err := d.caughtUp(ctx); err != nil {
		return err
	}
	if err := d.openAccounts(ctx); err != nil {
		return fmt.Errorf("open accounts: %w", err)
	}
	d.appended.reset()
	d.applied.reset()
	d.conflicts.Store(0)
	d.retries.Store(0)
	if err := d.transfer(ctx); err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	if err := d.relay.Drain(ctx, d.client.Partitions()); err != nil {
		return err
	}
	return d.countReturned(ctx)
}

func (d *load) openAccounts(ctx context.Context) error {
	highest, err := view.HighestAccount(ctx, d.view.Ask())
	if err != nil {
		return err
	}
	d.base = highest
	p := startProgress(d.stderr, "opening accounts", demoAccounts, nil)
	defer p.stop()
	return d.clients(ctx, demoAccounts, func(ctx context.Context, i int) error {
		_, err := d.ledger.Open(ctx, d.base+ledger.Account(i)+1, openingMinor, ledger.DateOf(time.Now()), txcontext.WaitApplied())
		p.done.Add(1)
		return err
	})
}

func (d *load) transfer(ctx context.Context) error {
	orders := plan(d.seed, d.transfers, d.base, d.ledger.PartitionOf, ledger.DateOf(time.Now()))
	for _, o := range orders {
		if d.ledger.PartitionOf(o.From) != d.ledger.PartitionOf(o.To) {
			d.crossing++
		}
	}
	p := startProgress(d.stderr, "transferring", len(orders), func() string {
		return fmt.Sprintf("%s conflicts, %s declined", count(d.conflicts.Load()), count(d.declined.Load()))
	})
	defer p.stop()
	began := time.Now()
	err := d.clients(ctx, len(orders), func(ctx context.Context, i int) error {
		defer p.done.Add(1)
		return d.one(ctx, orders[i])
	})
	d.took = time.Since(began)
	return err
}

func (d *load) one(ctx context.Context, o ledger.Order) error {
	_, err := d.ledger.Transfer(ctx, o, txcontext.WaitApplied())
	if errors.Is(err, ledger.ErrOverdraft) {
		d.declined.Add(1)
		return nil
	}
	if err == nil {
		d.committed.Add(1)
	}
	return err
}

// clients share the numbers below n among them; each does its own one by one.
func (d *load) clients(ctx context.Context, n int, do func(context.Context, int) error) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range demoClients {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (d *load) countReturned(ctx context.Context) (err error) {
	d.returned, err = view.CountReturned(ctx, d.view.Ask())
	return err
}

func (d *load) result() demoResult {
	return demoResult{
		Accounts: demoAccounts, Transfers: d.transfers,
		Committed: d.committed.Load(), Declined: d.declined.Load(),
		Conflicts: d.conflicts.Load(), Retries: d.retries.Load(),
		AppendP50Ms: d.appended.ms(50), AppendP99Ms: d.appended.ms(99),
		AppliedP50Ms: d.applied.ms(50), AppliedP99Ms: d.applied.ms(99),
		TxPerSec: float64(d.transfers) / d.took.Seconds(), Check: "ok",
	}
}

// latencies is a histogram that many may add to.
type latencies struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func newLatencies() *latencies {
	return &latencies{h: hdrhistogram.New(1, time.Minute.Microseconds(), 3)}
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.h.RecordValue(min(d.Microseconds(), time.Minute.Microseconds())) // in range by min
}

func (l *latencies) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.h.Reset()
}

func (l *latencies) ms(percentile float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return float64(l.h.ValueAtQuantile(percentile)) / 1000
}
