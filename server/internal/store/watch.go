package store

import (
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/txn"
)

// watchQueueLocked sees to it that somebody looks at the replicas, once in a
// while, as long as anything that they were sent is unanswered: it may wait for
// room on a full disk, and no other append may come that would tell; or they may
// never answer at all.
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
		s.failSilent(links)
	}
}

// waits returns the oldest ID that is not committed, all links, and whether
// anything is unanswered.
func (s *Session) waits() (oldest txn.ID, links []*link, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.queue.empty() {
		return s.mu.queue.oldest(), s.mu.links, true
	}
	for _, l := range s.mu.links {
		waits = waits || l.took < l.sent
	}
	s.mu.watching = waits
	return s.mu.queue.last + 1, s.mu.links, waits
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

// failSilent fails replicas that have not answered anything for too long of what
// they were sent. One that is full has said so.
func (s *Session) failSilent(links []*link) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range links {
		if s.mu.err != nil {
			return
		}
		w := &l.watched
		if l.gone || l.took == l.sent || l.took != w.took || l.full != nil || w.since.IsZero() {
			w.took, w.since = l.took, now
			continue
		}
		if silent := now.Sub(w.since); silent >= s.c.AnswerMax {
			s.replicaFailedLocked(l.storage, fmt.Errorf("%w for %v to what follows transaction %d", ErrNoAnswer, silent.Round(time.Millisecond), l.took))
		}
	}
}
