package store

import "github.com/waltz-log/waltz/internal/txn"

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

func (s *Session) isFull(l *link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.full != nil
}

// fullLocked notes that a replica has no room, until it has answered more than
// what it took before.
func (s *Session) fullLocked(l *link, had txn.ID, err error) {
	if l.full == nil {
		s.c.Logger.Warn("storage is full, it is tried again until there is room", "storage", l.storage, "session", int64(s.id), "error", err)
	}
	l.full, l.fullAt = l.wrap(err), had
	s.watchStallLocked()
}

// tookLocked notes that a replica has answered.
func (s *Session) tookLocked(l *link, last txn.ID) {
	l.took = max(l.took, last)
	l.window.answered(last)
	if !l.current {
		select {
		case l.room <- struct{}{}:
		default:
		}
	}
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
