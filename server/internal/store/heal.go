package store

import (
	"context"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Healer is what a Replica may be besides, to have records that its disk has lost
// replaced by those of the others. Its methods may be called concurrently.
type Healer interface {
	// Damaged reports whether the replica of a partition lacks records that Heal could
	// give it. It reads nothing from the disk.
	Damaged(ctx context.Context, p txn.Partition) (bool, error)
	// Heal replaces records up to committed that can't be read by those that read
	// returns: at least the first one, and as many more up to last as it likes. It
	// verifies each, and returns how many it took, and how many ranges are left that
	// can't be read. Appends and reads go on meanwhile.
	Heal(ctx context.Context, p txn.Partition, committed txn.ID, read func(ctx context.Context, first, last txn.ID) (record.Frame, error)) (records int64, left int, err error)
}

// healBytes is how much one answer to Heal brings.
const healBytes = 1 << 20

// heal asks the session's replicas once in a while whether they know of damage,
// which their reads and their scrubbing find, and has it repaired one replica at
// a time. What they get was committed, and is compared with the session's log
// like every read (rule 3); the replica compares it with its own map of stamps.
// One that can't be healed is tried again in the healAgain-th round from then,
// since each try reads the damaged segments anew.
func (s *Session) heal() {
	wait := map[string]int{} // rounds, by storage
	for s.sleep(s.c.HealEvery) {
		s.mu.Lock()
		links := s.mu.links
		s.mu.Unlock()
		for _, l := range links {
			if wait[l.storage] > 0 {
				wait[l.storage]--
				continue
			}
			if !s.healed(l) {
				wait[l.storage] = healAgain - 1
			}
		}
	}
}

const healAgain = 10

// healed reports whether a replica is sound, maybe after a repair. One that does not
// answer is nobody's patient: the session gives it up elsewhere.
func (s *Session) healed(l *link) bool {
	h, can := l.replica.(Healer)
	if !can {
		return true
	}
	asked, cancel := context.WithTimeout(l.ctx, s.c.AnswerMax)
	damaged, err := h.Damaged(asked, s.c.Partition)
	cancel()
	if err != nil || !damaged {
		return true
	}
	s.mu.Lock()
	committed := s.mu.leader.Committed()
	s.mu.Unlock()
	began := time.Now()
	records, left, err := h.Heal(l.ctx, s.c.Partition, committed, func(ctx context.Context, first, last txn.ID) (record.Frame, error) {
		return s.readWithout(ctx, l, first, min(last, committed), healBytes)
	})
	if l.ctx.Err() != nil {
		return true
	}
	if err != nil || left > 0 {
		s.c.Logger.Warn("damaged replica was not healed by the others", "storage", l.storage, "records", records, "ranges_left", left, "error", err)
		return false
	}
	s.c.Logger.Info("damaged replica was healed by the others", "storage", l.storage, "records", records, "took", time.Since(began))
	return true
}
