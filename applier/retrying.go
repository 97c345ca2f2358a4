package applier

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// insist does something until the database has no trouble that passes.
func (p *partition[Tx, S]) insist(ctx context.Context, do func() error) error {
	b := p.backOff()
	before, troubled := p.snapshotStatus(), false
	for {
		err := do()
		if err == nil {
			if troubled {
				p.become(before.State, before.Fault, before.Err)
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f := fault(err, p.a.db.Fault)
		if !f.Class.Transient() {
			return fmt.Errorf("view %s: partition %d: %w", p.a.o.Name, p.ref.Partition, err)
		}
		if err := p.trouble(ctx, b, f, err); err != nil {
			return err
		}
		troubled = true
	}
}

// patiently is insist for a call beside Run, which says nothing about the partition's
// state.
func (p *partition[Tx, S]) patiently(ctx context.Context, do func() error) error {
	b := p.backOff()
	for {
		err := do()
		f := fault(err, p.a.db.Fault)
		if err == nil || !f.Class.Transient() {
			return err
		}
		if sleep(ctx, b.next(f.Class, p.a.o.RetryMin)) != nil {
			return err
		}
	}
}

// pauses are those between tries of one thing.
type pauses struct {
	backOff *backoff.ExponentialBackOff
	tries   int
}

func (p *partition[Tx, S]) backOff() *pauses {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = p.a.o.RetryMin, p.a.o.RetryMax
	b.Reset()
	return &pauses{backOff: b}
}

// quickMax bounds how often the pause after a deadlock doubles.
const quickMax = 10

// next returns how long to wait. What is over at once, such as a deadlock, is tried
// at once, with only as much jitter as keeps two that met from meeting again.
func (p *pauses) next(c Class, most time.Duration) time.Duration {
	if c != ClassRetry {
		return p.backOff.NextBackOff()
	}
	most = min(most, time.Millisecond<<min(p.tries, quickMax))
	p.tries++
	return rand.N(most)
}

// trouble shows what is wrong, and waits.
func (p *partition[Tx, S]) trouble(ctx context.Context, b *pauses, f Fault, err error) error {
	pause := b.next(f.Class, p.a.o.RetryMin)
	p.update(func(s *PartitionStatus) { s.Retries++ })
	p.become(StateRetrying, f, err)
	if hook := p.a.o.Hooks.Retrying; hook != nil {
		hook(p.ref.Partition, f, pause)
	}
	return sleep(ctx, pause)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
