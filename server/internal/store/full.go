package store

import (
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// A full disk ends nothing. The replica has said that it changed nothing, so its
// link stays, as one that is behind, and is sent the same group again and again;
// the others go on without it. When they are no majority any more the session is
// stalled: reads go on, what was appended waits, and the owner of the partition
// is told, so that it can refuse what comes. A new session instead would need
// room for its claim and its promises on that same disk.

// Stalled returns why a majority of members can't take appends for full disks,
// or nil if that is not so: it wraps [session.ErrFull]. What was appended is
// committed by itself when there is room.
func (s *Session) Stalled() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.stalled
}

// Stalls is readable after Stalled has changed.
func (s *Session) Stalls() <-chan struct{} { return s.stalls }

// notTaken deals with an error of an append to a replica: a full one keeps its
// place before the group, any other is failed. It reports whether the link goes on.
func (s *Session) notTaken(l *link, g group, err error) bool {
	if !errors.Is(err, session.ErrFull) {
		s.linkFailed(l, err)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil || l.gone {
		return false
	}
	l.sent = g.prev
	s.fullLocked(l, g.prev, err)
	if l.current { // nobody else sends to it
		l.current = false
		s.listCurrentLocked()
		s.goDo(func() { s.catchUpLater(l) })
	}
	return true
}

func (s *Session) catchUpLater(l *link) {
	if s.sleep(s.c.RetryFull) {
		s.catchUp(l)
	}
}

// fullLocked notes that a replica has no room, until it has answered more than
// what it took before.
func (s *Session) fullLocked(l *link, had txn.ID, err error) {
	if l.full == nil {
		s.c.Logger.Warn("storage is full, it is tried again until there is room", "storage", l.storage, "session", int64(s.id), "error", err)
	}
	l.full, l.fullAt = fmt.Errorf("storage %s: %w", l.storage, err), had
	s.watchStallLocked()
}

// tookLocked notes that a replica has answered.
func (s *Session) tookLocked(l *link, last txn.ID) {
	l.took = max(l.took, last)
	if l.full == nil || last <= l.fullAt {
		return
	}
	l.full = nil
	s.c.Logger.Info("storage has room again", "storage", l.storage, "session", int64(s.id))
	s.watchStallLocked()
}

// watchStallLocked finds out whether a majority can take appends, if one or more
// replicas are full, and tells of a change. That others of them are down is
// watchMajorityLocked's business, alone.
func (s *Session) watchStallLocked() {
	able, full := map[string]bool{}, error(nil)
	for _, l := range s.mu.links {
		if able[l.storage] = l.full == nil; l.full != nil {
			full = l.full
		}
	}
	if full != nil && s.mu.leader.Majority(func(storage string) bool { return able[storage] }) {
		full = nil
	}
	if changed := (s.mu.stalled == nil) != (full == nil); changed && s.mu.err == nil {
		s.mu.stalled = full
		s.wakeLocked() // Close does not wait for full storages
		s.tellStalled()
	}
}

func (s *Session) tellStalled() {
	select {
	case s.stalls <- struct{}{}:
	default:
	}
}

// watchQueueLocked sees to it that somebody asks the replicas, once in a while,
// as long as anything waits to be committed: what they have taken may wait for
// room too, and no other append may come that would tell.
func (s *Session) watchQueueLocked() {
	if s.mu.watching || s.mu.err != nil {
		return
	}
	s.mu.watching = true
	s.goDo(s.watchQueue)
}

func (s *Session) watchQueue() {
	for waited := txn.None; s.sleep(s.c.RetryFull); {
		oldest, links, waits := s.waits()
		if !waits {
			return
		}
		if oldest == waited {
			s.askFull(links)
		}
		waited = oldest
	}
}

// waits returns where the oldest uncommitted group begins, and who has got it.
func (s *Session) waits() (oldest txn.ID, links []*link, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.queue.empty() {
		s.mu.watching = false
		return 0, nil, false
	}
	return s.mu.queue.ring[s.mu.queue.head].prev + 1, s.mu.links, true
}

// askFull asks replicas whether what they have taken waits for room. One that has
// answered all meanwhile has it.
func (s *Session) askFull(links []*link) {
	for _, l := range links {
		r, ok := l.replica.(Fuller)
		if !ok {
			continue
		}
		err := r.Full()
		s.mu.Lock()
		if err != nil && l.full == nil && l.took < l.sent && !l.gone && s.mu.err == nil {
			s.fullLocked(l, l.took, err)
		}
		s.mu.Unlock()
	}
}
