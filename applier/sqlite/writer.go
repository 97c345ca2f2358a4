package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/waltz-log/waltz/applier"
)

// writer owns the connection that writes. Whoever holds the turn uses it.
//
// Steps of several partitions share an SQL transaction: who ends a step while
// others wait for the turn leaves the transaction open for them, and waits for
// the one who ends it. Since a partition waits for its commit before it comes
// again, a group has at most one step of each, and ends.
//
// Each step but the first of a group is behind a savepoint. The first needs none,
// since there is nothing to keep, and SQLite would copy every page that it
// touches.
type writer struct {
	path string
	turn chan *session // holds the connection when nobody uses it; nil: to be opened

	waiting atomic.Int32 // steps that want the turn

	// Of whoever has the turn:
	group *group // nil: no SQL transaction is open
	solo  int    // how many steps are to be committed alone
}

// group is steps in one SQL transaction.
type group struct {
	steps int
	ended chan struct{}
	err   error // to be read after ended
}

func newWriter(path string) (*writer, error) {
	s, err := openSession(path)
	if err != nil {
		return nil, err
	}
	w := &writer{path: path, turn: make(chan *session, 1)}
	w.turn <- s
	return w, nil
}

func (w *writer) close() error {
	s := <-w.turn
	w.turn <- nil
	if s == nil {
		return nil
	}
	return s.close()
}

// Apply implements applier.Database. It waits for the turn and for the commit
// without an end: both are bounded by steps, and those by their contexts.
func (d *database) Apply(ctx context.Context, step *applier.Step[Tx]) error {
	g, err := d.w.apply(ctx, step)
	if g == nil || err != nil {
		return err
	}
	<-g.ended
	if g.err == nil && step.Reached != nil {
		step.Reached(applier.StageCommitted)
	}
	return g.err
}

// apply does a step, and the commit too if nobody else joins.
func (w *writer) apply(ctx context.Context, step *applier.Step[Tx]) (*group, error) {
	w.waiting.Add(1)
	s, err := w.take()
	w.waiting.Add(-1)
	defer func() { w.turn <- s }()
	if err != nil {
		return nil, err
	}
	g, err := w.join(ctx, s, step)
	if w.group != nil && (w.solo > 0 || w.waiting.Load() == 0) {
		w.solo = max(0, w.solo-1)
		w.end(s)
	}
	if err != nil {
		s = w.afterError(s, err)
		return nil, err
	}
	if closed(g) && g.err != nil {
		s = w.afterError(s, g.err)
	}
	return g, nil
}

func closed(g *group) bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// take waits for the turn, and opens the connection if it has to.
func (w *writer) take() (*session, error) {
	s := <-w.turn
	if s != nil {
		return s, nil
	}
	return openSession(w.path)
}

// afterError gives up a connection whose error may be its own.
func (w *writer) afterError(s *session, err error) *session {
	f, is := fault(err)
	if !is || w.group != nil || f.Class == applier.ClassData || f.Class == applier.ClassBackOff {
		return s
	}
	_ = s.close() // its trouble was returned
	return nil
}

// join does a step in the group's SQL transaction, or begins one.
func (w *writer) join(ctx context.Context, s *session, step *applier.Step[Tx]) (*group, error) {
	if w.group == nil {
		if _, err := s.exec("BEGIN IMMEDIATE", nil, nil); err != nil {
			return nil, err
		}
		w.group = &group{ended: make(chan struct{})}
	} else if _, err := s.exec("SAVEPOINT step", nil, nil); err != nil {
		w.fail(s, err)
		return nil, err
	}
	g := w.group
	err := perform(ctx, s, step)
	if err == nil && g.steps > 0 {
		_, err = s.exec("RELEASE step", nil, nil)
	}
	if err != nil {
		w.undo(s, err)
		return nil, err
	}
	g.steps++
	return g, nil
}

// undo takes back one step, and only that, if SQLite lets it.
func (w *writer) undo(s *session, cause error) {
	if w.group.steps == 0 {
		w.fail(s, cause)
		return
	}
	_, err := s.exec("ROLLBACK TO step", nil, nil)
	if err == nil {
		_, err = s.exec("RELEASE step", nil, nil)
	}
	if err != nil { // the whole SQL transaction is gone, as with a full disk
		w.fail(s, cause)
	}
}

// fail takes back the whole group. Those who did nothing wrong try again.
func (w *writer) fail(s *session, cause error) {
	g := w.group
	_ = rollBack(s) // fails if SQLite has rolled back by itself
	w.group = nil
	g.err = applier.WithClass(applier.ClassRetry, fmt.Errorf("another partition's batch took the SQL transaction with it: %w", cause))
	close(g.ended)
}

// end commits the group.
func (w *writer) end(s *session) {
	g := w.group
	w.group = nil
	_, err := s.exec("COMMIT", nil, nil)
	if err != nil {
		_ = rollBack(s) // fails if SQLite has rolled back by itself
		g.err = &commitError{err}
		f, _ := fault(g.err)
		if g.steps > 1 && !f.Class.Transient() {
			// A deferred constraint fails at COMMIT, for all: each must be seen alone.
			w.solo = 2 * g.steps
			g.err = applier.WithClass(applier.ClassRetry, g.err)
		}
	}
	close(g.ended)
}

// alone does something in an SQL transaction of its own.
func (w *writer) alone(ctx context.Context, do func(*session) error) (err error) {
	var s *session
	select {
	case s = <-w.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { w.turn <- s }()
	if s == nil {
		if s, err = openSession(w.path); err != nil {
			return err
		}
	}
	if w.group != nil {
		w.end(s)
	}
	if err := inTransaction(s, do); err != nil {
		s = w.afterError(s, err)
		return err
	}
	return nil
}

func inTransaction(s *session, do func(*session) error) error {
	if _, err := s.exec("BEGIN IMMEDIATE", nil, nil); err != nil {
		return err
	}
	if err := do(s); err != nil {
		return errors.Join(err, rollBack(s))
	}
	if _, err := s.exec("COMMIT", nil, nil); err != nil {
		_ = rollBack(s) // fails if SQLite has rolled back by itself
		return &commitError{err}
	}
	return nil
}
