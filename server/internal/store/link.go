package store

import (
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// link is a replica that takes appends. sent and all below it belong to the
// session's mu.
type link struct {
	storage  string
	replica  Replica
	self     session.Replica               // every message is bound to it (rule 3)
	answered func(session.Appended, error) // one closure for all appends
	sent     txn.ID                        // last ID given to it
	took     txn.ID                        // last ID that it has answered
	current  bool                          // takes new groups directly; else it is catching up
	gone     bool                          // no longer in Session.links
	full     error                         // it has no room; nil: it has, as far as we know
	fullAt   txn.ID                        // it has room again when it has answered more than this
}

// readyLocked lets a replica take appends: directly if it has everything that
// was sent to the others, else after catching up beside them.
func (s *Session) readyLocked(o session.Ready) {
	s.unlinkLocked(o.Storage)
	l := &link{storage: o.Storage, replica: s.c.Replicas[o.Storage], self: o.Replica, sent: o.Last, took: o.Last}
	l.answered = func(a session.Appended, err error) { s.answered(l, a, err) }
	s.mu.links = append(s.mu.links[:len(s.mu.links):len(s.mu.links)], l)
	s.watchStallLocked()
	if l.sent == s.mu.queue.last {
		l.current = true
		s.listCurrentLocked()
		return
	}
	s.c.Logger.Info("replica catches up", "storage", l.storage, "session", int64(s.id), "from", int64(l.sent)+1, "to", int64(s.mu.queue.last))
	s.goDo(func() { s.catchUp(l) })
}

// catchUp sends a replica what the others have got, until it can take new
// groups directly. What is uncommitted comes from memory, what is older from
// another storage, one message at a time.
func (s *Session) catchUp(l *link) {
	for {
		g, committed, more := s.next(l)
		if !more {
			return
		}
		var err error
		if g.frame != nil {
			err = s.send(l, g, committed)
		} else {
			err = s.sendOlder(l, g, committed)
		}
		if err != nil && (!s.notTaken(l, g, err) || !s.sleep(s.c.RetryFull)) {
			return
		}
	}
}

// next returns what the link needs next: a group from memory, or one without
// frame that must be read. more is false when there is nothing left to do.
func (s *Session) next(l *link) (g group, committed txn.ID, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil || l.gone {
		return g, 0, false
	}
	if l.sent == s.mu.queue.last {
		l.current = true
		s.listCurrentLocked()
		return g, 0, false
	}
	committed = s.mu.leader.Committed()
	g, held := s.mu.queue.behind(l.sent)
	if held {
		l.sent = g.last
	} else {
		g = group{prev: l.sent, prevStamp: s.mu.leader.StampAt(l.sent), last: committed}
	}
	return g, committed, true
}

var errNobodyToReadFrom = errors.New("no other storage has the records")

// sendOlder reads committed records from another storage, sends them and waits
// for the answer, so that one message at a time is in memory.
func (s *Session) sendOlder(l *link, g group, committed txn.ID) error {
	frame, err := s.readFrom(s.ctx, s.readers(l), g.prev+1, g.last, s.c.CopyMax)
	if err != nil {
		return err
	}
	span, err := frame.Check()
	if err != nil {
		return fmt.Errorf("catch up storage %s: %w", l.storage, err)
	}
	s.mu.Lock()
	l.sent = span.Last
	s.mu.Unlock()
	answer := make(chan struct{})
	g.frame, g.last = frame, span.Last
	err = s.sendAnd(l, g, committed, func(a session.Appended, err error) {
		l.answered(a, err)
		close(answer)
	})
	if err != nil {
		return err
	}
	select {
	case <-answer:
	case <-s.ctx.Done():
	}
	return nil
}
