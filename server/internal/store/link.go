package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// link is a replica that takes appends. It is current, and gets each new group
// directly from Append, or behind, and gets them from a goroutine of its own:
//
//	Ready
//	  │ has all       ┌── too much unanswered, or no room there ──┐
//	  ├────────► current                                          │
//	  │ has not       ▲                                           ▼
//	  └─────────────► └───────────── has all ◄───────────────── behind
//
// So a slow replica costs the others nothing: of what was sent to it at most
// Config.LinkMax bytes are unanswered at a time, past which it falls behind, and
// what it lacks then is read from the others' disks, one message at a time, not
// held in memory for it.
//
// sent and all below it belong to the session's mu.
type link struct {
	storage  string
	replica  Replica
	self     session.Replica               // every message is bound to it (rule 3)
	answered func(session.Appended, error) // one closure for all appends
	try      func(session.Append, func(session.Appended, error)) error
	ctx      context.Context // ends with the link
	cancel   context.CancelFunc
	room     chan struct{} // readable after an answer, while it is behind

	sent    txn.ID // last ID given to it
	took    txn.ID // last ID that it has answered
	window  window // what lies between
	current bool
	gone    bool   // no longer in Session.links
	full    error  // it has no room; nil: it has, as far as we know
	fullAt  txn.ID // it has room again when it has answered more than this
	keep    txn.ID // committed groups above it are kept for it; keepNothing: none
	asked   bool   // it owes the answer to a Confirm
	route   route
	older   *message // what was read for it and may have to be sent again
	watched struct {
		took  txn.ID    // when it was looked at last
		since time.Time // since when it has answered nothing that it was sent
	}
}

func (s *Session) newLink(storage string, r Replica, self session.Replica, last txn.ID) *link {
	l := &link{storage: storage, replica: r, self: self, sent: last, took: last, room: make(chan struct{}, 1), keep: keepNothing}
	l.ctx, l.cancel = context.WithCancel(s.ctx)
	l.answered = func(a session.Appended, err error) { s.answered(l, a, err) }
	l.try = func(m session.Append, done func(session.Appended, error)) error { return r.Append(l.ctx, m, done) }
	if t, ok := r.(Trier); ok {
		l.try = t.TryAppend
	}
	return l
}

// readyLocked lets a replica take appends: directly if it has everything that
// was sent to the others, else after catching up beside them.
func (s *Session) readyLocked(o session.Ready) {
	s.unlinkLocked(o.Storage)
	r, ok := s.replica(o.Storage)
	if !ok { // it was given up since it answered; not told here, within the leader's outputs
		s.goDo(func() { s.replicaFailed(o.Storage, errUnreachable) })
		return
	}
	delete(s.mu.troubles, o.Storage)
	l := s.newLink(o.Storage, r, o.Replica, o.Last)
	s.linkLocked(l)
	s.watchStallLocked()
	if l.sent == s.mu.queue.last {
		l.current = true
		s.listCurrentLocked()
		return
	}
	s.goDo(func() { s.catchUp(l) })
}

// linkLocked adds a link. The list is replaced, never changed.
func (s *Session) linkLocked(l *link) {
	s.mu.links = append(s.mu.links[:len(s.mu.links):len(s.mu.links)], l)
}

// unlinkLocked takes a replica out of those that take appends.
func (s *Session) unlinkLocked(storage string) {
	i := slices.IndexFunc(s.mu.links, func(l *link) bool { return l.storage == storage })
	if i < 0 {
		return
	}
	l := s.mu.links[i]
	l.gone = true
	l.cancel()
	s.mu.links = slices.Concat(s.mu.links[:i], s.mu.links[i+1:])
	s.listCurrentLocked()
	s.watchStallLocked()
}

// relinkLocked begins anew with a replica that refused something for want of
// room after it had been sent: all that followed is refused too, for it does not
// fit then, and those refusals must not count.
func (s *Session) relinkLocked(old *link) *link {
	l := s.newLink(old.storage, old.replica, old.self, old.took)
	l.full, l.fullAt, l.route, l.older = old.full, old.fullAt, old.route, old.older
	s.unlinkLocked(old.storage)
	s.linkLocked(l)
	return l
}

// listCurrentLocked makes the list of links that take new groups directly. It is
// replaced, never changed, since Append walks it without mu.
func (s *Session) listCurrentLocked() {
	var current []*link
	for _, l := range s.mu.links {
		if l.current {
			current = append(current, l)
		}
	}
	s.mu.current = current
	s.keepLocked()
}

// keepLocked tells the queue what those that catch up are about to need.
func (s *Session) keepLocked() {
	keep := keepNothing
	for _, l := range s.mu.links {
		keep = min(keep, l.keep)
	}
	s.mu.queue.keep(keep)
}

// fallBehindLocked has a current link caught up from now on, after a while.
func (s *Session) fallBehindLocked(l *link, wait time.Duration) {
	l.current = false
	s.goDo(func() {
		if wait == 0 || sleep(l.ctx, wait) {
			s.catchUp(l)
		}
	})
}

// wrap says which storage an error is of.
func (l *link) wrap(err error) error { return fmt.Errorf("storage %s: %w", l.storage, err) }
