package partition

import (
	"context"

	"github.com/waltz-log/waltz/internal/locktable"
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/requests"
	"github.com/waltz-log/waltz/internal/txn"
)

// rebuild reads the end of the log into a new lock table and request window, so
// that a failover neither forgets a request (I4) nor makes up or misses a
// conflict (I5).
//
// Where the log is damaged both begin anew above it. That is exact, too: what a
// lost record may have taken or been is at or below the floors, so who has not
// seen it is stale, and what may have been committed as it is searched for in the
// log, which then can't tell. So damage closes no partition, not even that of the
// last record: where the log ends and with which stamp the session knows without
// it, and its timestamp is not later than the clock, unless that was set back
// since.
func (s *sequencer) rebuild(ctx context.Context, session Session) error {
	high := session.High()
	if s.kept && s.continues(session) {
		s.kept = false
		s.time = max(s.time, session.HighTime())
		return nil
	}
	next := max(0, high-txn.ID(s.p.o.WindowTransactions)+1)
	s.forget(next)
	var lost damagedTail
	for next <= high {
		err := readTail(ctx, session, next, high, func(frame record.Frame) { next = s.remember(frame) })
		if damaged(err) {
			lost.add(next, err)
			next, err = s.pass(ctx, session, next)
		}
		if err != nil {
			return err
		}
	}
	s.next, s.time = high+1, max(s.time, session.HighTime())
	if mutant.On("locktable-empty-after-open") {
		s.locks = locktable.New(s.p.o.WindowTransactions, s.p.o.LockMarksMax, txn.None)
	}
	s.reportDamage(&lost)
	return nil
}

// forget empties lock table and request window; next is the first transaction
// that they will remember.
func (s *sequencer) forget(next txn.ID) {
	s.kept = false
	s.locks = locktable.New(s.p.o.WindowTransactions, s.p.o.LockMarksMax, next-1)
	s.window = requests.New(s.p.o.WindowTransactions, next)
}

// damagedTail is what rebuild could not read.
type damagedTail struct {
	ranges int
	first  txn.ID // of all of them
	err    error  // the first one's
}

func (d *damagedTail) add(bad txn.ID, err error) {
	if d.ranges++; d.ranges == 1 {
		d.first, d.err = bad, err
	}
}

// pass finds the end of damage, begins anew above it, and returns where.
func (s *sequencer) pass(ctx context.Context, session Session, bad txn.ID) (next txn.ID, err error) {
	end, err := damageEnd(bad, session.High(), func(id txn.ID) error {
		_, err := session.Read(ctx, id, id, 1)
		return err
	})
	if err != nil {
		return bad, err
	}
	s.forget(end + 1)
	if mutant.On("lock-floor-under-damage") {
		s.locks = locktable.New(s.p.o.WindowTransactions, s.p.o.LockMarksMax, txn.None)
	}
	return end + 1, nil
}

func (s *sequencer) reportDamage(lost *damagedTail) {
	if lost.ranges == 0 {
		return
	}
	s.p.counters.damagedTails.Add(1)
	s.p.o.Logger.Warn("the log's tail is damaged: locks and requests are remembered above the damage only", "partition", s.p.o.Partition,
		"first", lost.first, "last", s.window.Floor(), "ranges", lost.ranges, "error", lost.err)
}

// remember adds the records of a verified frame, and returns the ID after the last
// one.
func (s *sequencer) remember(frame record.Frame) (next txn.ID) {
	for r := range frame.Trusted() {
		if mutant.On("request-window-lost-after-open") {
			r.Request[0] ^= 1
		}
		s.time = max(s.time, r.Time) // the last record's may be damaged
		s.window.Add(r.Request)
		for i := range r.LockCount() {
			s.locks.Mark(r.Lock(i), r.ID)
		}
		next = r.ID + 1
	}
	return next
}
