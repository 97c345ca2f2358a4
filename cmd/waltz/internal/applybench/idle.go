package applybench

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// Idle is how long it takes on an idle log from the moment when the appender has its
// answer until the transaction is applied, and how long the database needs for one SQL
// transaction that changes one row, measured in turns.
type Idle struct {
	AppliedP50, AppliedP99 time.Duration
	CommitP50, CommitP99   time.Duration
	BeyondP50, BeyondP99   time.Duration // by how much applying took longer than the commit beside it
}

// newIdle takes the figures of pairs. The differences are those of each pair: one of
// percentiles would be of two that have nothing to do with each other.
func newIdle(applied, commits []time.Duration) *Idle {
	beyond := make([]time.Duration, len(applied))
	for i := range applied {
		beyond[i] = applied[i] - commits[i]
	}
	return &Idle{
		quantile(applied, 50), quantile(applied, 99), quantile(commits, 50), quantile(commits, 99),
		quantile(beyond, 50), quantile(beyond, 99),
	}
}

// idleWarmup is how many transactions are not counted: statements are prepared.
const idleWarmup = 10

// idle measures a view that has applied everything.
func (b *bench) idle(ctx context.Context) (figures *Idle, err error) {
	b.Progress("an idle log")
	p, err := b.newPlace(ctx, b.Database)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	h, err := p.byHand(ctx, p.address, PerRecord, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	mark, err := b.Client.HighWaterMark(ctx, 0)
	if err != nil {
		return nil, err
	}
	s := stretch{b.Client, []waltz.ID{mark}, 0}
	var applied, commits []time.Duration
	err = b.onView(ctx, p, s, PerRecord, func(ctx context.Context, v view, start func()) error {
		start()
		for i := range idleWarmup + b.Idle {
			a, c, err := b.idleOnce(ctx, s, v, h, i)
			if err != nil {
				return err
			}
			if i >= idleWarmup {
				applied, commits = append(applied, a), append(commits, c)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return newIdle(applied, commits), nil
}

// idleOnce appends one transaction and waits for it, then commits one by hand.
func (b *bench) idleOnce(ctx context.Context, s stretch, v view, h hand, i int) (applied, commit time.Duration, err error) {
	id, err := put(ctx, b.Client, 0, b.Transactions+i, s.base[0]+waltz.ID(i))
	if err != nil {
		return 0, 0, err
	}
	answered := time.Now()
	if err := v.WaitFor(ctx, 0, s.shown(0, id)); err != nil {
		return 0, 0, err
	}
	applied = time.Since(answered)
	began := time.Now()
	err = h.commit(ctx)
	return applied, time.Since(began), err
}

// quantile returns one of 0 to 100.
func quantile(all []time.Duration, q int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*q/100)]
}
