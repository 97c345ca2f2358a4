package store

import (
	"context"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// Confirm returns nil if no other session had opened when it was called: what is
// committed here is then all that was committed by that time. It needs one message
// to each member, which many callers share, and no write; a commit of records that
// were appended after the call will do as well. It waits while no majority
// answers, until ctx or the session ends.
//
// Walked through: a later session opens only after a majority of members promised
// it, and a replica that has promised it does not confirm. The replicas asked here
// count as they are in M, so the two majorities share one, in the incarnation and
// start that M was written for.
func (s *Session) Confirm(ctx context.Context) error {
	s.mu.Lock()
	r, err := s.joinLocked()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-r.done:
		return nil
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return fmt.Errorf("confirm session %d of partition %d: %w", s.id, s.c.Partition, context.Cause(ctx))
	}
}

// round is one asking of all members, shared by those who called before it began.
type round struct {
	after txn.ID // a commit above it will do
	done  chan struct{}
	yes   map[*link]bool
}

// rounds are the one under way, and the one that waits for its end.
type rounds struct{ running, waiting *round }

func newRound() *round { return &round{done: make(chan struct{}), yes: map[*link]bool{}} }

// joinLocked returns a round that has not begun before the call.
func (s *Session) joinLocked() (*round, error) {
	if s.mu.err != nil {
		return nil, s.mu.err
	}
	c := &s.mu.confirm
	if c.running == nil {
		s.beginLocked(newRound())
		return c.running, nil
	}
	if c.waiting == nil {
		c.waiting = newRound()
	}
	return c.waiting, nil
}

func (s *Session) beginLocked(r *round) {
	r.after = s.mu.queue.last
	s.mu.confirm.running = r
	s.goDo(func() { s.runRound(r) })
}

// committedLocked ends a round by a commit.
func (c *rounds) committedLocked(committed txn.ID) {
	if c.running != nil && committed > c.running.after {
		c.running.finish()
	}
}

func (r *round) finish() {
	if !r.over() {
		close(r.done)
	}
}

// runRound asks the members until a majority has confirmed or the session ended,
// and begins the next round.
func (s *Session) runRound(r *round) {
	for again := true; again; again = s.sleepOr(r.done, s.c.Backoff) { // others may count by then
		s.askRound(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.mu.confirm.waiting
	s.mu.confirm = rounds{}
	if next != nil && s.mu.err == nil {
		s.beginLocked(next)
	}
}

func (r *round) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// sleepOr waits; false if done was closed or the session ended.
func (s *Session) sleepOr(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
	case <-s.ctx.Done():
	}
	return false
}

// askRound has every member asked that counts and has not confirmed, unless one
// still owes an answer: it is asked again when that has come.
func (s *Session) askRound(r *round) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return
	}
	for _, l := range s.mu.links {
		if !l.asked && !r.yes[l] && s.mu.leader.Counts(l.storage, l.self) {
			l.asked = true
			s.goDo(func() { s.askLink(l) })
		}
	}
}

// askLink asks one member as long as a round needs it.
func (s *Session) askLink(l *link) {
	for r := s.needs(l); r != nil; r = s.needs(l) {
		ctx, cancel := context.WithTimeoutCause(l.ctx, s.c.AnswerMax, s.noAnswer())
		err := l.replica.Confirm(ctx, session.Confirm{Partition: s.c.Partition, Session: s.id, Replica: l.self})
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		cancel()
		s.confirmed(r, l, err)
	}
}

// needs returns the round that waits for a member's answer; nil if none does, or
// the link is gone.
func (s *Session) needs(l *link) *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.mu.confirm.running
	if s.mu.err != nil || l.gone || r == nil || r.over() || r.yes[l] {
		l.asked = false
		return nil
	}
	return r
}

func (s *Session) confirmed(r *round, l *link, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.err != nil || l.gone:
	case err != nil:
		s.replicaFailedLocked(l.storage, err)
	default:
		r.yes[l] = true
		if s.mu.leader.Majority(r.has) {
			r.finish()
		}
	}
}

func (r *round) has(storage string) bool {
	for l := range r.yes {
		if l.storage == storage && !l.gone {
			return true
		}
	}
	return false
}

// beat confirms a session that has committed nothing for a while: one that was
// fenced without hearing of it would keep its subscribers waiting for ever, and a
// replica that was restarted would be brought back by the next append only.
func (s *Session) beat() {
	for seen := txn.None; s.sleep(s.c.ConfirmEvery); {
		s.mu.Lock()
		committed := s.mu.leader.Committed()
		var r *round
		if committed == seen {
			r, _ = s.joinLocked()
		}
		s.mu.Unlock()
		seen = committed
		if r == nil {
			continue
		}
		select {
		case <-r.done:
		case <-s.ctx.Done():
		}
	}
}
