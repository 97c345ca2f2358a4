package store

import (
	"slices"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/metadata"
)

// Replicas are added, removed and replaced by changing M's target. An open session
// hears of it by a watch, copies to the newcomers beside its appends, and says by
// Switches when all of them are near the end. Its owner then closes it and opens the
// next one on the target, by Config.Prepared. A session never does that itself: only
// its owner knows what is in flight, and keeps lock table and window.

// replica returns the way to a storage.
func (s *Session) replica(storage string) (Replica, bool) {
	r, ok := s.c.Replicas[storage]
	if !ok && s.c.Find != nil {
		r, ok = s.c.Find(storage)
	}
	return r, ok
}

// Switches is readable when a session could be opened on M's target with little to
// copy; Prepared then says which target that is.
func (s *Session) Switches() <-chan struct{} { return s.switches }

// Prepared returns the target whose newcomers have been copied to, for
// Config.Prepared of the next session; nil if there is none, or no session.
func (s *Session) Prepared() []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mu.prepared)
}

func (s *Session) switchableLocked(o session.Switchable) {
	s.mu.prepared = o.Target
	s.c.Logger.Info("newcomers are near the end of the log", "session", int64(s.id), "target", o.Target)
	select {
	case s.switches <- struct{}{}:
	default:
	}
}

// watchM tells the leader when somebody may have changed M: a new target, or a
// rival's claim, of which it hears here before a storage refuses it.
func (s *Session) watchM() {
	for {
		changes, err := s.c.Metadata.Watch(s.ctx, metadata.PartitionKey(s.c.Partition))
		if err == nil {
			s.step(session.Touched{}) // for what came before
			for range changes {
				s.step(session.Touched{})
			}
		}
		if !s.sleep(s.c.Backoff) {
			return
		}
	}
}
