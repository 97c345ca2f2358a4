package partition

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Switcher is what a [Session] is besides if the replicas of its partition can be
// changed while it is open.
type Switcher interface {
	// Switches is readable when the session should be closed and the next one opened,
	// since that will be on other replicas.
	Switches() <-chan struct{}
}

// A switch is the end of a session that its owner has chosen, between two groups:
// nothing is refused, and who sends waits in the inbox. What is in flight is
// committed first, so lock table and window are those of the log's end, and the next
// session, if it ends there too, need not read them back from the log. That makes
// the pause a matter of milliseconds.

// switchMax is how long what is in flight may take. What is not committed then is
// settled as after a lost session.
const switchMax = 500 * time.Millisecond

// switchOpenMax is how long who sends waits in the inbox for the next session. After
// that it is a session that can't be opened, like any other: what waits is refused as
// unavailable, and it is tried again.
const switchOpenMax = time.Second

var errSwitch = errors.New("the replicas change")

func (s *sequencer) switches() <-chan struct{} {
	if w, ok := s.session.(Switcher); ok {
		return w.Switches()
	}
	return nil
}

// switchOver ends the session for the next one.
func (s *sequencer) switchOver() error {
	p := s.p
	p.closed.Store(nil)
	p.stalled.Store(false)
	p.session.Store(nil)
	p.o.Tail.Lost()
	s.kept = true
	p.closeSession(s.session)
	s.settle(s.commits.get())
	p.o.Logger.Info("partition changes its replicas", "partition", p.o.Partition, "session", s.session.ID(), "high_water_mark", s.committed())
	signal(p.wake) // for what came into the inbox meanwhile
	return errSwitch
}

// continues reports whether the log still ends where this owner left it. Records
// with one (ID, stamp) are one record, and logs that agree on it are equal up to it,
// so lock table and window are what rebuild would make of the log.
func (s *sequencer) continues(next Session) bool {
	stamp := s.session.HighStamp()
	if s.session.High() < s.next-1 {
		stamp = s.session.ID()
	}
	return next.High() == s.next-1 && next.HighStamp() == stamp
}

// openWithin is open with a limit; 0: none.
func (s *sequencer) openWithin(ctx context.Context, limit time.Duration) error {
	if limit == 0 {
		return s.open(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no session was open within %v on the new replicas", limit))
	defer cancel()
	return s.open(ctx)
}
