package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

const (
	relayInFlightMax = 64                     // transfers settled at a time, for each partition
	relayBatch       = 256                    // pending transfers read at a time
	relayPauseMin    = 100 * time.Millisecond // before trying again what failed; it doubles, with jitter
	relayPauseMax    = 5 * time.Second
	relayTell        = 30 * time.Second     // how often trouble is told while it lasts
	drainEvery       = 5 * time.Millisecond // how often Drain looks
)

// Relay settles transfers across partitions: it follows the applied log through
// the view, credits each that is pending, and returns each that was refused. It
// keeps no state: after a crash, the view's pending transfers are where it goes on.
// Any number of relays may run; keys make each step happen once.
type Relay[S any] struct {
	ledger *Ledger[S]
	view   txcontext.View[S]
	logger *slog.Logger
	told   atomic.Int64 // when trouble was told last, in nanoseconds since 1970
}

// NewRelay returns a relay for the ledger, which follows view.
func NewRelay[S any](l *Ledger[S], view txcontext.View[S], logger *slog.Logger) *Relay[S] {
	return &Relay[S]{ledger: l, view: view, logger: logger}
}

// Run settles what leaves the log's partitions until ctx ends, which is no error.
func (r *Relay[S]) Run(ctx context.Context, partitions int) error {
	var g errgroup.Group
	for p := range partitions {
		g.Go(func() error { return r.follow(ctx, waltz.Partition(p)) })
	}
	return g.Wait()
}

// follow settles what leaves one partition. It reads again whenever the view has
// applied something more of that partition.
func (r *Relay[S]) follow(ctx context.Context, p waltz.Partition) error {
	var g errgroup.Group
	g.SetLimit(relayInFlightMax)
	defer func() { _ = g.Wait() }() // they return no error
	cursor, pauses := waltz.None, newPauses()
	for ctx.Err() == nil {
		pending, mark, err := r.pending(ctx, p, cursor)
		if err != nil {
			r.trouble(ctx, pauses, "read pending transfers", p, err)
			continue
		}
		pauses.Reset()
		for _, c := range pending {
			g.Go(func() error { r.settle(ctx, c); return nil })
			cursor = c.ID
		}
		if len(pending) == relayBatch {
			continue
		}
		if err := r.view.WaitFor(ctx, p, mark+1); err != nil {
			r.trouble(ctx, pauses, "follow the view", p, err)
		}
	}
	return nil
}

func (r *Relay[S]) pending(ctx context.Context, p waltz.Partition, above waltz.ID) (all []Crossing, mark waltz.ID, err error) {
	err = r.view.Snapshot(ctx, p, func(ctx context.Context, s S, m waltz.ID) error {
		mark = m
		all, err = r.ledger.books(s).Pending(ctx, p, above, relayBatch)
		return err
	})
	return all, mark, err
}

// settle takes one transfer to its end, however often it takes.
func (r *Relay[S]) settle(ctx context.Context, c Crossing) {
	pauses := newPauses()
	for ctx.Err() == nil {
		err := r.ledger.settle(ctx, c, r.view)
		if err == nil {
			return
		}
		r.trouble(ctx, pauses, "settle transfer "+c.Origin.String(), c.Partition, err)
	}
}

func newPauses() *backoff.ExponentialBackOff {
	b := &backoff.ExponentialBackOff{InitialInterval: relayPauseMin, MaxInterval: relayPauseMax, Multiplier: 2, RandomizationFactor: 0.5}
	b.Reset()
	return b
}

// trouble tells, and waits before the next try. All transfers meet it together, so it is
// told for one of them, and seldom again.
func (r *Relay[S]) trouble(ctx context.Context, pauses *backoff.ExponentialBackOff, what string, p waltz.Partition, err error) {
	if ctx.Err() != nil {
		return
	}
	level, now, told := slog.LevelDebug, time.Now().UnixNano(), r.told.Load()
	if now-told >= int64(relayTell) && r.told.CompareAndSwap(told, now) {
		level = slog.LevelWarn
	}
	r.logger.Log(ctx, level, "relay: "+what, "partition", p, "error", err)
	t := time.NewTimer(pauses.NextBackOff())
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// settle credits the receiver, or has the refusal recorded and returns the money.
func (l *Ledger[S]) settle(ctx context.Context, c Crossing, view txcontext.View[S]) error {
	if c.Status == Pending {
		refused, err := l.credit(ctx, &c, view)
		if err != nil || !refused {
			return err
		}
	}
	_, err := l.runner.Run(ctx, l.back(c))
	return err
}

// credit runs the second transaction, and reports whether it is a refusal: its own
// or, if that step was done before, the one that the view shows.
func (l *Ledger[S]) credit(ctx context.Context, c *Crossing, view txcontext.View[S]) (refused bool, err error) {
	there := l.PartitionOf(c.To)
	res, err := l.runner.Run(ctx, l.context(there, "in:"+c.Origin.String(), func(ctx context.Context, b Books, tx *txcontext.Builder) error {
		transit, s, err := b.Parties(ctx, Transit(there), c.To)
		if err != nil {
			return err
		}
		c.Reason = s.refusal()
		if c.Reason == "" && (!transit.within(-c.AmountMinor) || !s.within(c.AmountMinor)) {
			c.Reason = ErrLimit.Error()
		}
		return c.arrival(there, tx)
	}), txcontext.WaitApplied())
	if err != nil || !res.AlreadyDone {
		return c.Reason != "", err
	}
	err = view.Snapshot(ctx, there, func(ctx context.Context, s S, _ waltz.ID) error {
		seen, found, err := l.books(s).Crossing(ctx, c.Origin)
		if err == nil && !found {
			err = fmt.Errorf("view does not know transfer %s", c.Origin)
		}
		refused, c.Reason = seen.Status == Refused, seen.Reason
		return err
	})
	return refused, err
}

// refusal tells why an account does not take a transfer from another partition,
// or "".
func (s Standing) refusal() string {
	switch {
	case s.Closed:
		return ErrClosed.Error()
	case !s.Known:
		return ErrNoAccount.Error()
	}
	return ""
}

// arrival builds what the receiver's partition records. Either way it reads the
// account's standing, so that a close or an opening can't pass it.
func (c *Crossing) arrival(there waltz.Partition, tx *txcontext.Builder) error {
	tx.Read(standingLock.ID(uint64(c.To)))
	e := c.entry(KindIn)
	if c.Reason != "" {
		e.Kind, e.Reason, e.Postings = KindRefused, c.Reason, []Posting{}
		return e.put(tx)
	}
	tx.Append(creditsLock.ID(uint64(c.To)))
	e.Postings = pair(Transit(there), c.To, c.AmountMinor)
	return e.put(tx)
}

// back is the third transaction, for a transfer that the receiver's partition has
// refused. That refusal is of another partition, which no lock here guards; it
// needs none, for what is committed never changes (I2).
func (l *Ledger[S]) back(c Crossing) txcontext.Context[S] {
	return l.context(c.Partition, "return:"+c.Origin.String(), func(ctx context.Context, b Books, tx *txcontext.Builder) error {
		seen, _, err := b.Crossing(ctx, c.Origin)
		if err != nil {
			return err
		}
		if seen.Status != Refused {
			return txcontext.Decline(fmt.Errorf("transfer %s is %s: %w", c.Origin, seen.Status, ErrNotRefused))
		}
		tx.Append(creditsLock.ID(uint64(c.From)))
		e := c.entry(KindReturned)
		e.Reason, e.Postings = seen.Reason, pair(Transit(c.Partition), c.From, c.AmountMinor)
		return e.put(tx)
	})
}

func (c *Crossing) entry(k Kind) Entry {
	return Entry{
		Kind: k, Type: c.Type, BookedOn: c.BookedOn, AmountMinor: c.AmountMinor,
		From: c.From, To: c.To, Origin: &c.Origin,
	}
}

// Drain returns when no transfer that the view shows is pending, or when ctx ends.
// A relay must be running somewhere.
func (r *Relay[S]) Drain(ctx context.Context, partitions int) error {
	ticker := time.NewTicker(drainEvery)
	defer ticker.Stop()
	for p := 0; p < partitions; {
		pending, _, err := r.pending(ctx, waltz.Partition(p), waltz.None)
		if err != nil {
			return fmt.Errorf("read pending transfers: %w", err)
		}
		if len(pending) == 0 {
			p++
			continue
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for transfer %s to be settled: %w", pending[0].Origin, context.Cause(ctx))
		}
	}
	return nil
}
