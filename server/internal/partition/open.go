package partition

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// commitPoint carries one session's commit point to the owner. A session that
// was given up writes into its own, which nobody reads any more.
type commitPoint struct {
	id   atomic.Int64
	wake chan<- struct{}
}

func (c *commitPoint) set(id txn.ID) {
	c.id.Store(int64(id))
	signal(c.wake)
}

func (c *commitPoint) get() txn.ID { return txn.ID(c.id.Load()) }

// open opens a session, rebuilds what is derived from the log, settles what an
// earlier session left in flight, and lets attempts in.
func (s *sequencer) open(ctx context.Context) error {
	p, start := s.p, time.Now()
	commits := &commitPoint{wake: p.wake}
	commits.set(txn.None)
	session, err := p.o.Open(ctx, p.o.Partition, commits.set)
	if err != nil {
		return err // which says what was tried
	}
	if err := s.rebuild(ctx, session); err != nil {
		p.closeSession(session)
		return fmt.Errorf("rebuild lock table and request window of partition %d: %w", p.o.Partition, err)
	}
	s.session, s.commits, s.failed = session, commits, nil
	s.stalled, s.patience = nil, nil
	p.stalled.Store(false)
	s.resolve()
	p.o.Tail.Open(session.High())
	p.closed.Store(nil)
	p.takeIn()
	p.session.Store(&sessionRef{session}) // from here on it is ready: what comes has to be taken by then
	p.counters.opens.Add(1)
	p.o.Logger.Info("partition open", "partition", p.o.Partition, "session", session.ID(), "high_water_mark", session.High(),
		"lock_floor", s.locks.Floor(), "request_floor", s.window.Floor(), "took", time.Since(start))
	return nil
}

// takeIn lets attempts in, unless the partition is being closed.
func (p *Partition) takeIn() {
	if !p.isClosing() {
		p.inbox.open()
	}
	if p.isClosing() { // Close may have come in between: it must win
		p.inbox.close(wire.Refuse(wire.ShuttingDown, "partition %d is being closed here", p.o.Partition))
	}
}

// keepOut refuses attempts, those in the inbox too, until takeIn. A partition
// that is being closed does so anyway.
func (p *Partition) keepOut(why *wire.Error) {
	if !p.isClosing() {
		p.inbox.close(why)
	}
}

// resolve answers what was in flight when the last session ended, now that the
// log has been chosen and no older session can add to it (I3): what the window
// holds was committed; the rest is to be sent again. That is no verdict: where
// another server had the partition meanwhile and filled more than the window,
// the resend makes the searcher look further back.
func (s *sequencer) resolve() {
	for s.flights.len() > 0 {
		f := s.flights.pop()
		i := 0
		for r := range f.frame.Trusted() {
			if len(f.spans) == 0 {
				break // answered while the session was stalled
			}
			for i < len(f.spans) && r.ID >= f.spans[i].first+txn.ID(f.spans[i].count) {
				i++
			}
			s.resolveOne(f.spans[i].from, f.spans[i].seq+uint64(r.ID-f.spans[i].first), r.Request)
		}
		for _, w := range f.waits {
			s.resolveOne(w.from, w.seq, w.request)
		}
	}
	s.waiting = 0
	s.p.counters.inFlight.Store(0)
}

func (s *sequencer) resolveOne(from Answerer, seq uint64, r txn.RequestID) {
	if id, ok := s.window.Lookup(r); ok {
		from.Committed(wire.Committed{FirstSeq: seq, Count: 1, Partition: s.p.o.Partition, FirstID: id})
		return
	}
	why := wire.Refuse(wire.Unavailable, "the store session of partition %d ended before the transaction was committed: send it again", s.p.o.Partition)
	s.p.counters.refused(why.Reason, 1)
	from.Refused(seq, *why)
}

// lost takes the partition out of service after its session has ended. What is
// in flight stays, unanswered, for resolve.
func (s *sequencer) lost(cause error) error {
	p := s.p
	s.settle(s.commits.get()) // the last commits may have come with the end
	if s.frame.frame != nil {
		s.flights.push(s.frame)
		s.frame = flight{}
	}
	s.ahead = 0
	if cause == nil {
		cause = errors.New("the store session ended")
	}
	p.closed.Store(&closure{err: cause})
	p.stalled.Store(false)
	p.session.Store(nil)
	p.o.Tail.Lost()
	p.counters.losses.Add(1)
	p.keepOut(refusal(p.o.Partition, cause))
	p.closeSession(s.session)
	return fmt.Errorf("store session %d: %w", s.session.ID(), cause)
}

// closeSession releases a session that is of no use.
func (p *Partition) closeSession(session Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), p.o.ReopenMax)
	defer cancel()
	_ = session.Close(ctx) // it has ended, or is being given up for a better reason
}
