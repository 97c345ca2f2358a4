package partition

import (
	"errors"
	"syscall"
	"time"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// stall takes note of whether the session can commit. While it can't, because
// storages are full, new attempts are refused at once: nothing of them is written.
func (s *sequencer) stall(cause error) {
	was := s.stalled
	s.stalled = cause
	s.p.stalled.Store(cause != nil)
	switch {
	case cause == nil:
		s.patience = nil
		if was != nil {
			s.p.takeIn()
		}
	case was == nil:
		s.p.keepOut(refusal(s.p.o.Partition, cause))
		s.patience = time.After(s.p.o.StallMax)
	}
}

// answerStalled answers what is in flight in a session that has been stalled for
// a while, so that callers hear of a full disk that may stay full for days. The
// frames stay in flight, and are committed when there is room, so it is no
// StorageFull, which says that nothing was written: a client would believe that
// its transaction never appears (I8). Sent again, an attempt is refused as such,
// or, when there is room, gets the ID of the first sending (I4).
func (s *sequencer) answerStalled() {
	s.patience = nil
	why := *wire.Refuse(wire.Unavailable, "partition %d: handed to storages that are full, may be committed when there is room: send it again: %v",
		s.p.o.Partition, s.stalled)
	if mutant.On("in-flight-refused-as-not-written") {
		why.Reason = wire.StorageFull
	}
	for i := range s.flights.list {
		f := &s.flights.list[i]
		for _, one := range f.spans {
			for n := range uint64(one.count) {
				s.refuse(one.from, one.seq+n, why)
			}
		}
		for _, w := range f.waits {
			s.refuse(w.from, w.seq, why)
		}
		s.waiting -= len(f.waits)
		f.spans, f.waits = nil, nil
	}
}

func (s *sequencer) refuse(to Answerer, seq uint64, why wire.Error) {
	s.p.counters.refused(why.Reason, 1)
	to.Refused(seq, why)
}

// refusal says to clients why nothing can be appended now.
func refusal(p txn.Partition, err error) *wire.Error {
	if errors.Is(err, session.ErrFull) || errors.Is(err, syscall.ENOSPC) { // a storage; the metadata
		return wire.Refuse(wire.StorageFull, "partition %d: %v", p, err)
	}
	return wire.Refuse(wire.Unavailable, "partition %d: %v", p, err)
}
