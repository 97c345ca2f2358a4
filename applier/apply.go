package applier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waltz-log/waltz/waltz"
)

// blameMax is how often in a batch the item that the error came at is believed
// to be the culprit, before the rest is halved. Where statements are pipelined,
// an error comes later than its cause, and belief would cost an SQL transaction
// for every item.
const blameMax = 2

// apply moves the mark over a part. If its data can't be applied, it falls into
// pieces until the culprit stands alone, which costs about 2 log2(n) SQL transactions
// more; every good piece is committed on the way.
func (t *tenure[Tx, S]) apply(ctx context.Context, b *batch[Tx], p part, blames int) error {
	at, left := b.undecoded(p), blames
	var err error
	if at == p.to {
		at, err = t.commit(ctx, b, p, nil)
		if err == nil || !t.divisible(err) {
			return err
		}
		if blames == 0 || at == unknown {
			at = p.from + (p.to-p.from)/2
		}
		blames, left = max(0, blames-1), 0
	}
	if p.to-p.from <= 1 {
		return t.alone(ctx, b, p, err)
	}
	before, rest := b.split(p, max(at, p.from+1))
	if err := t.apply(ctx, b, before, left); err != nil {
		return err
	}
	return t.apply(ctx, b, rest, blames)
}

// divisible reports an error that belongs to one of the transactions.
func (t *tenure[Tx, S]) divisible(err error) bool {
	if errors.Is(err, ErrLost) || errors.Is(err, errCutOff) || errors.Is(err, ErrImplicitCommit) {
		return false
	}
	return !fault(err, t.a.db.Fault).Class.Transient()
}

// alone deals with a part of one item that failed: whatever is before it is
// passed, it gets one more chance, and then the policy decides.
func (t *tenure[Tx, S]) alone(ctx context.Context, b *batch[Tx], p part, err error) error {
	if p.from == p.to {
		return fmt.Errorf("view %s: move mark of partition %d from %d to %d: %w", t.a.o.Name, t.ref.Partition, p.old, p.new, err)
	}
	it := &b.items[p.from]
	before := part{p.from, p.from, p.old, it.c.ID - 1}
	self := part{p.from, p.to, before.new, it.c.ID}
	after := part{p.to, p.to, self.new, p.new}
	if _, err := t.commit(ctx, b, before, nil); err != nil {
		return err
	}
	if err := t.lastChance(ctx, b, self); err != nil {
		return err
	}
	_, err = t.commit(ctx, b, after, nil)
	return err
}

// lastChance applies an item that stands alone, or lets the policy decide.
func (t *tenure[Tx, S]) lastChance(ctx context.Context, b *batch[Tx], p part) error {
	if err := b.items[p.from].err; err != nil {
		return t.poison(ctx, b, p, err)
	}
	_, err := t.commit(ctx, b, p, nil)
	if err == nil || !t.divisible(err) {
		return err
	}
	return t.poison(ctx, b, p, err)
}

// poison is what becomes of a transaction that can't be applied.
func (t *tenure[Tx, S]) poison(ctx context.Context, b *batch[Tx], p part, err error) error {
	it := &b.items[p.from]
	f := fault(err, t.a.db.Fault)
	stop := &TransactionError{
		View: t.a.o.Name, Partition: t.ref.Partition, ID: it.c.ID, Header: it.c.Header, Kind: b.kindOf(it.c.Header), Fault: f, Err: err,
	}
	if t.a.o.Policy == Stop || f.Class != ClassData {
		return stop
	}
	if err := t.mayBury(ctx, stop); err != nil {
		return err
	}
	dead := &Letter{Committed: it.c, State: LetterDead, Kind: stop.Kind, Class: f.Class.String(), Code: f.Code, Text: err.Error(), Instance: t.a.o.Instance, Attempts: 1}
	if _, err := t.commit(ctx, b, p, dead); err != nil {
		return err
	}
	t.buried(stop)
	return nil
}

// deadInARow is how many dead letters with one code in a row are a
// configuration that is wrong rather than transactions that are.
const deadInARow = 10

// mayBury refuses a dead letter that would be one too many.
func (t *tenure[Tx, S]) mayBury(ctx context.Context, stop *TransactionError) error {
	if t.repeat >= deadInARow && t.code == stop.Fault.Code {
		stop.Fault.Class = ClassConfiguration
		stop.InARow = t.repeat + 1
		return stop
	}
	var n int
	err := t.insist(ctx, func() (err error) {
		n, err = t.a.db.DeadSince(ctx, t.a.identity, t.a.o.DeadWindow)
		return err
	})
	if err != nil {
		return err
	}
	if n >= t.a.o.DeadMax {
		return &TooManyDeadError{View: t.a.o.Name, Dead: n + 1, Max: t.a.o.DeadMax, Window: t.a.o.DeadWindow, Err: stop}
	}
	return nil
}

func (t *tenure[Tx, S]) buried(e *TransactionError) {
	if t.code != e.Fault.Code {
		t.repeat, t.code = 0, e.Fault.Code
	}
	t.repeat++
	t.update(func(s *PartitionStatus) {
		s.Dead++
		if s.IncompleteSince == waltz.None || e.ID < s.IncompleteSince {
			s.IncompleteSince = e.ID
		}
	})
	t.a.logger.Error("transaction became a dead letter, the view is incomplete", "transaction", e)
	if hook := t.a.o.Hooks.Dead; hook != nil {
		hook(t.ref.Partition, e.ID, e.Fault)
	}
}

// errCutOff ends a batch that did not finish in the grace after the end of Run's
// context.
var errCutOff = errors.New("cut off")

// commit does one SQL transaction, again and again while the database has
// trouble that passes. It returns at which item another error came.
func (t *tenure[Tx, S]) commit(ctx context.Context, b *batch[Tx], p part, dead *Letter) (at int, err error) {
	if p.old == p.new {
		return p.to, nil
	}
	b0 := t.backOff()
	for {
		began := time.Now()
		at, err = t.try(ctx, b, p, dead)
		if err == nil {
			t.committed(p, dead, time.Since(began))
			return at, nil
		}
		f := fault(err, t.a.db.Fault)
		if errors.Is(err, ErrLost) || !f.Class.Transient() {
			return at, err
		}
		if ctx.Err() != nil {
			return at, errCutOff
		}
		if err := t.trouble(ctx, b0, f, err); err != nil {
			return at, errCutOff
		}
		if f.Class == ClassUnknown {
			if done, err := t.resolve(ctx, p); err != nil || done {
				if done {
					t.committed(p, dead, time.Since(began))
				}
				return at, err
			}
		}
	}
}

// try does one SQL transaction once. It goes on for a grace when ctx ends.
func (t *tenure[Tx, S]) try(ctx context.Context, b *batch[Tx], p part, dead *Letter) (at int, err error) {
	ctx, release := graceful(ctx, t.a.o.StopGrace)
	defer release()
	at = unknown
	s := &Step[Tx]{
		Ref: t.ref, Old: p.old, New: p.new, Epoch: t.row.Epoch, Owner: t.a.o.Instance,
		Transactions: p.to - p.from, Keys: b.keysOf(p),
	}
	if dead != nil {
		s.Letters = []Letter{*dead}
	}
	if t.a.o.HA == Lease {
		s.Lease = t.a.o.LeaseDuration
	}
	if hook := t.a.o.Hooks.Stage; hook != nil {
		s.Reached = func(stage Stage) { hook(t.ref.Partition, stage) }
	}
	s.Work = func(ctx context.Context, tx Tx) (err error) {
		at, err = b.run(ctx, tx, p)
		return err
	}
	if dead != nil {
		s.Transactions = 0
		s.Work = func(context.Context, Tx) error { return nil }
	}
	err = t.a.db.Apply(ctx, s)
	return at, err
}

// graceful outlives ctx by a grace.
func graceful(ctx context.Context, grace time.Duration) (context.Context, func()) {
	long, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-long.Done():
		}
	})
	return long, func() { stop(); cancel() }
}

// committed notes that the mark has moved.
func (t *tenure[Tx, S]) committed(p part, dead *Letter, took time.Duration) {
	t.row.HighWaterMark = p.new
	n := p.to - p.from
	if dead != nil {
		n = 0
	}
	if n > 0 {
		t.repeat = 0
	}
	t.update(func(s *PartitionStatus) {
		s.Applied += uint64(n)
		s.Batches++
	})
	t.shows(p.new)
	t.become(StateApplying, Fault{}, nil)
	if hook := t.a.o.Hooks.Applied; hook != nil {
		hook(t.ref.Partition, n, p.new, took)
	}
}

// resolve finds out whether a commit whose answer was lost has happened: the
// mark tells.
func (t *tenure[Tx, S]) resolve(ctx context.Context, p part) (done bool, err error) {
	if err := t.reload(ctx); err != nil {
		return false, err
	}
	log := t.a.logger.With("partition", t.ref.Partition, "from", p.old, "to", p.new, "high_water_mark", t.row.HighWaterMark)
	switch t.row.HighWaterMark {
	case p.new:
		log.Info("outcome of a commit was unknown: it is in the database")
		return true, nil
	case p.old:
		log.Info("outcome of a commit was unknown: it is not in the database, doing it again")
		return false, nil
	}
	log.Info("outcome of a commit was unknown: another instance went on")
	return false, ErrLost
}

// insist does something until the database has no trouble that passes.
func (t *tenure[Tx, S]) insist(ctx context.Context, do func() error) error {
	b := t.backOff()
	before := t.snapshotStatus()
	for {
		err := do()
		if err == nil {
			t.become(before.State, before.Fault, before.Err)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		f := fault(err, t.a.db.Fault)
		if !f.Class.Transient() {
			return fmt.Errorf("view %s: partition %d: %w", t.a.o.Name, t.ref.Partition, err)
		}
		if err := t.trouble(ctx, b, f, err); err != nil {
			return err
		}
	}
}

func (t *tenure[Tx, S]) backOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = t.a.o.RetryMin, t.a.o.RetryMax
	b.Reset()
	return b
}

// trouble shows what is wrong, and waits.
func (t *tenure[Tx, S]) trouble(ctx context.Context, b *backoff.ExponentialBackOff, f Fault, err error) error {
	pause := b.NextBackOff()
	if f.Class == ClassRetry {
		pause = min(pause, t.a.o.RetryMin)
	}
	t.update(func(s *PartitionStatus) { s.Retries++ })
	t.become(StateRetrying, f, err)
	if hook := t.a.o.Hooks.Retrying; hook != nil {
		hook(t.ref.Partition, f, pause)
	}
	return sleep(ctx, pause)
}
