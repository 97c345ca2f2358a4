package applier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/mutant"
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
	if _, full := errors.AsType[*QuarantineFullError](err); full {
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

// errCutOff ends a batch that did not finish in the grace after the end of Run's
// context.
var errCutOff = errors.New("cut off")

// commit does one SQL transaction, again and again while the database has
// trouble that passes. It returns at which item another error came. With poison, the
// part is the item that it is about, which is passed. Else what has to wait behind a
// key in quarantine is.
func (t *tenure[Tx, S]) commit(ctx context.Context, b *batch[Tx], p part, poison *passing) (at int, err error) {
	if p.old == p.new {
		return p.to, nil
	}
	pass := poison
	if pass == nil {
		held, at, err := b.hold(p, t.quarantine, t.a.o.Instance)
		if err != nil {
			return at, err
		}
		pass = &held
	}
	if err := t.quarantine.exceeds(t.a.o.QuarantineMax, pass, t.a.o.Name, t.ref.Partition); err != nil {
		return unknown, err
	}
	return t.persist(ctx, b, p, pass)
}

// persist tries until there is an answer.
func (t *tenure[Tx, S]) persist(ctx context.Context, b *batch[Tx], p part, pass *passing) (at int, err error) {
	b0 := t.backOff()
	for {
		began := time.Now()
		at, err = t.try(ctx, b, p, pass)
		if err == nil {
			t.committed(p, pass, time.Since(began))
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
			done, err := t.resolve(ctx, p)
			if err != nil {
				return at, err
			}
			if done {
				if mutant.On("unknown-outcome-taken-for-own") {
					t.committed(p, pass, time.Since(began))
					return at, nil
				}
				t.moved(p, p.to-p.from-pass.items(), time.Since(began))
				return at, t.lookAnew(ctx)
			}
		}
	}
}

// try does one SQL transaction once. It goes on for a grace when ctx ends.
func (t *tenure[Tx, S]) try(ctx context.Context, b *batch[Tx], p part, pass *passing) (at int, err error) {
	ctx, release := graceful(ctx, t.a.o.StopGrace)
	defer release()
	at = unknown
	if mutant.On("old-idea-of-letters") {
		t.epoch = t.row.Epoch
	}
	s := &Step[Tx]{
		Ref: t.ref, Old: p.old, New: p.new, Epoch: t.epoch, Owner: t.a.o.Instance,
		Transactions: p.to - p.from - pass.items(), Skipped: pass.skipped, Meaning: t.row.Meaning,
		Keys: b.keysOf(p), Letters: pass.letters, Reached: t.reached(),
		Work: func(context.Context, Tx) error { return nil },
	}
	if t.a.o.HA == Lease {
		s.Lease = t.a.o.LeaseDuration
	}
	if s.Transactions > 0 {
		s.Meaning = t.a.o.Meaning
		s.Work = func(ctx context.Context, tx Tx) (err error) {
			at, err = b.run(ctx, tx, p)
			return err
		}
	}
	err = t.step(ctx, s)
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

// committed notes what a step did.
func (t *tenure[Tx, S]) committed(p part, pass *passing, took time.Duration) {
	t.passed(pass)
	t.moved(p, p.to-p.from-pass.items(), took)
}

// moved notes that the mark has moved, and over how many transactions with effects.
func (t *tenure[Tx, S]) moved(p part, n int, took time.Duration) {
	t.row.HighWaterMark, t.looked = p.new, p.new
	if n > 0 {
		t.repeat, t.row.Meaning, t.proven = 0, t.a.o.Meaning, true
	}
	t.update(func(s *PartitionStatus) {
		s.Applied += uint64(n)
		s.Batches++
		s.Owner = t.a.o.Instance
	})
	t.shows(p.new)
	t.become(StateApplying, Fault{}, nil)
	if hook := t.a.o.Hooks.Applied; hook != nil {
		hook(t.ref.Partition, n, p.new, took)
	}
}

// resolve finds out whether a commit whose answer was lost has happened: the
// mark tells. It does not tell whose commit it was. Another instance may have come to
// the same mark, and have passed what this one would have applied, or the other way
// round; the letters tell that.
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
