package store

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/waltz-log/waltz/internal/record"
)

// trouble is a replica that does not take part.
type trouble struct {
	since time.Time
	said  time.Time
	tries int
	err   error // what it failed with; nil: it has answered since
}

// sayEvery is how often the log repeats that a replica is still in trouble. An
// attempt to open a session says nothing for so long: it ends sooner, its error
// names all of them, and the next one follows at once.
const sayEvery = time.Minute

// troubleLocked notes that something with a replica failed, says so if that is
// news, and returns how long to wait before it is tried again: twice as long each
// time, up to Config.BackoffMax.
func (s *Session) troubleLocked(storage, what string, err error) time.Duration {
	t, now := s.mu.troubles[storage], time.Now()
	if t == nil {
		t = &trouble{since: now}
		s.mu.troubles[storage] = t
	}
	level := slog.LevelDebug
	if now.Sub(t.said) >= sayEvery && (s.mu.isOpen || now.Sub(t.since) >= sayEvery) {
		level, t.said = slog.LevelWarn, now
	}
	s.c.Logger.Log(s.ctx, level, what, "storage", storage, "session", int64(s.mu.leader.Session()), "error", err, "since", t.since, "tries", t.tries)
	wait := min(s.c.Backoff<<min(t.tries, 20), s.c.BackoffMax)
	t.tries++
	return wait
}

// failureLocked adds to what has happened the failures that are behind it, each
// with its storage's name. Damage is final, so it may not hide what passes: beside
// that it is told in words only.
func (s *Session) failureLocked(what error) error {
	var passing, damage []string
	for _, storage := range slices.Sorted(maps.Keys(s.mu.troubles)) {
		switch err := s.mu.troubles[storage].err; {
		case err == nil:
		case record.IsCorrupt(err):
			damage = append(damage, storage)
		default:
			passing = append(passing, storage)
		}
	}
	for i, storage := range slices.Concat(passing, damage) {
		failed := named(storage, s.mu.troubles[storage].err)
		if len(passing) > 0 && i >= len(passing) {
			what = fmt.Errorf("%w; %s", what, failed.Error())
			continue
		}
		what = fmt.Errorf("%w; %w", what, failed)
	}
	return what
}

// named adds the storage's name to an error that does not have it.
func named(storage string, err error) error {
	if strings.Contains(err.Error(), "storage "+storage+" ") {
		return err
	}
	return fmt.Errorf("storage %s: %w", storage, err)
}

// watchMajorityLocked starts and stops the count-down of a session whose
// majority does not answer.
func (s *Session) watchMajorityLocked() {
	switch {
	case s.mu.err != nil:
	case s.mu.leader.Alive():
		s.mu.lostFrom = time.Time{}
	case s.c.LostMax <= 0:
		s.finishLocked(s.failureLocked(ErrNoMajority))
	case s.mu.lostFrom.IsZero():
		from := time.Now()
		s.mu.lostFrom = from
		s.goDo(func() { s.endIfLostSince(from) })
	}
}

func (s *Session) endIfLostSince(from time.Time) {
	if !s.sleep(s.c.LostMax) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.lostFrom.Equal(from) {
		s.finishLocked(s.failureLocked(fmt.Errorf("%w for %v", ErrNoMajority, s.c.LostMax)))
	}
}
