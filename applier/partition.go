package applier

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// partition is one partition of a view: its state, which anyone may ask for, and
// its owner goroutine, which is run.
type partition[Tx, S any] struct {
	a   *Applier[Tx, S]
	ref Ref

	turn chan struct{} // holds a token while a step of the partition is in the database

	mu      sync.Mutex
	status  PartitionStatus
	queue   *queue[Tx] // nil: no feed
	waiters []*waiter
	polling bool
}

// waiter is one call of WaitFor.
type waiter struct {
	id    waltz.ID
	shown chan struct{}
}

func newPartition[Tx, S any](a *Applier[Tx, S], row Row) *partition[Tx, S] {
	p := &partition[Tx, S]{a: a, ref: row.Ref, turn: make(chan struct{}, 1)}
	p.status = PartitionStatus{Partition: row.Partition, Since: time.Now(), HighWaterMark: waltz.None, LogMark: waltz.None, IncompleteSince: waltz.None}
	p.loaded(row)
	return p
}

// loaded notes a row that was read.
func (p *partition[Tx, S]) loaded(row Row) {
	p.mu.Lock()
	p.status.Epoch, p.status.Owner = row.Epoch, row.Owner
	p.status.Dead, p.status.Held, p.status.IncompleteSince, p.status.Skipped = row.Dead, row.Held, row.FirstDead, row.Skipped
	p.mu.Unlock()
	p.shows(row.HighWaterMark)
}

// shows notes a mark that a snapshot has shown, and wakes who waited for it.
func (p *partition[Tx, S]) shows(mark waltz.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mark <= p.status.HighWaterMark {
		return
	}
	p.status.HighWaterMark = mark
	p.status.LogMark = max(p.status.LogMark, mark)
	kept := p.waiters[:0]
	for _, w := range p.waiters {
		if w.id > mark {
			kept = append(kept, w)
		} else {
			close(w.shown)
		}
	}
	clear(p.waiters[len(kept):])
	p.waiters = kept
}

func (p *partition[Tx, S]) snapshotStatus() PartitionStatus {
	p.mu.Lock()
	s, q := p.status, p.queue
	p.mu.Unlock()
	if q != nil {
		end, oldest := q.heard()
		s.LogMark = max(s.LogMark, end)
		if s.Oldest.IsZero() {
			s.Oldest = oldest
		}
	}
	return s
}

// update changes the status.
func (p *partition[Tx, S]) update(change func(*PartitionStatus)) {
	p.mu.Lock()
	change(&p.status)
	p.mu.Unlock()
}

// become changes the state, and tells who wants to know.
func (p *partition[Tx, S]) become(s State, f Fault, err error) {
	p.mu.Lock()
	changed := p.status.State != s
	if changed {
		p.status.State, p.status.Since = s, time.Now()
	}
	changed = changed || s == StateRetrying && f.Class == ClassPage && p.status.Fault.Class != ClassPage
	p.status.Fault, p.status.Err = f, err
	now := p.status
	p.mu.Unlock()
	if !changed {
		return
	}
	p.tell(now)
	if hook := p.a.o.Hooks.Changed; hook != nil {
		hook(now)
	}
}

// tell logs a state: never the error's own words, which may hold values of rows.
func (p *partition[Tx, S]) tell(s PartitionStatus) {
	log := p.a.logger.With("partition", s.Partition, "state", s.State, "high_water_mark", s.HighWaterMark)
	switch s.State {
	case StateStopped:
		if stopped, is := errors.AsType[*TransactionError](s.Err); is {
			log = log.With("transaction", stopped)
		}
		log.Error("partition stopped", "class", s.Fault.Class, "code", s.Fault.Code, "text", s.Fault.Text)
	case StateRetrying:
		if s.NeedsSomebody() {
			log.Error("database has trouble that somebody has to end, trying again until then", "class", s.Fault.Class, "code", s.Fault.Code, "text", s.Fault.Text)
			return
		}
		log.Warn("database has trouble, trying again until it passes", "class", s.Fault.Class, "code", s.Fault.Code, "text", s.Fault.Text)
	default:
		log.Info("partition is " + s.State.String())
	}
}

// reached is what steps are to call at each stage.
func (p *partition[Tx, S]) reached() func(Stage) {
	hook := p.a.o.Hooks.Stage
	if hook == nil {
		return nil
	}
	return func(s Stage) { hook(p.ref.Partition, s) }
}

// step does one step in the database. Steps of a partition come one after the
// other, also when a retry is asked for beside Run.
func (p *partition[Tx, S]) step(ctx context.Context, s *Step[Tx]) error {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.turn }()
	return p.a.db.Apply(ctx, s)
}

// The pauses between two reads of the mark while waiting. While this instance
// applies the partition itself it will tell, so that reading is only a safeguard.
const (
	pollMin      = 2 * time.Millisecond
	pollMax      = 250 * time.Millisecond
	pollApplying = 100 * time.Millisecond
)

func (p *partition[Tx, S]) waitFor(ctx context.Context, id waltz.ID) error {
	w, state := p.enlist(id)
	if w == nil {
		return nil
	}
	defer p.forget(w)
	pause := pollMin
	if state == StateApplying {
		pause = pollApplying
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-w.shown:
			return nil
		case <-ctx.Done():
			return &WaitError{View: p.a.o.Name, Partition: p.ref.Partition, ID: id, HighWaterMark: p.snapshotStatus().HighWaterMark, Err: ctx.Err()}
		case <-timer.C:
			p.poll(ctx)
			pause = min(2*pause, pollMax)
			timer.Reset(pause)
		}
	}
}

// enlist returns nil if the view shows the transaction already.
func (p *partition[Tx, S]) enlist(id waltz.ID) (*waiter, State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id <= p.status.HighWaterMark {
		return nil, p.status.State
	}
	w := &waiter{id, make(chan struct{})}
	p.waiters = append(p.waiters, w)
	return w, p.status.State
}

func (p *partition[Tx, S]) forget(w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.waiters {
		if o == w {
			last := len(p.waiters) - 1
			p.waiters[i], p.waiters[last] = p.waiters[last], nil
			p.waiters = p.waiters[:last]
			return
		}
	}
}

// poll reads the mark for all who wait. An error is not theirs: the mark may be
// readable again next time, and their context bounds the waiting.
func (p *partition[Tx, S]) poll(ctx context.Context) {
	p.mu.Lock()
	busy := p.polling
	p.polling = true
	p.mu.Unlock()
	if busy {
		return
	}
	row, err := p.a.db.Read(ctx, p.ref)
	p.update(func(*PartitionStatus) { p.polling = false })
	if err == nil {
		p.shows(row.HighWaterMark)
	}
}
