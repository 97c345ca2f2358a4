package partition

import (
	"context"
	"sync"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

const searchChunkBytes = 1 << 20

// search is an old resend that the log is searched for, from next on.
type search struct {
	from    Answerer
	attempt wire.Attempt // a copy of its own
	next    txn.ID
	bytes   int
}

// searcher finds out from the log itself what became of attempts that were
// first sent before the request window begins (I4). It works beside the owner,
// on all that wait at once, in one pass; those it does not find it hands back
// to the owner with the ID up to which they are certainly not in the log.
//
// Walked through: the window's floor moves on while the log is read, so a pass
// goes on to the high-water mark at its end, not to the floor at its beginning.
// The owner asks again if the floor has overtaken even that.
type searcher struct {
	p *Partition

	mu      sync.Mutex
	waiting []search
	bytes   int
	stopped bool
	running sync.WaitGroup
	busy    bool
}

func newSearcher(p *Partition) *searcher { return &searcher{p: p} }

// add queues a search, or refuses it if too many wait (I9). One alone is taken
// whatever its size.
func (s *searcher) add(one search) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := len(s.waiting) >= s.p.o.SearchAttemptsMax || len(s.waiting) > 0 && s.bytes+one.bytes > s.p.o.SearchBytesMax
	if s.stopped || full {
		return wire.Refuse(wire.Unavailable, "partition %d is busy searching its log for earlier resends: send it again later", s.p.o.Partition)
	}
	s.waiting = append(s.waiting, one)
	s.bytes += one.bytes
	s.p.counters.searches.Add(1)
	if !s.busy {
		s.busy = true
		s.running.Go(s.run)
	}
	return nil
}

// stop waits until the searches have ended; the partition's context has.
func (s *searcher) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.p.cancel()
	s.running.Wait()
}

func (s *searcher) take() []search {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.waiting
	s.waiting, s.bytes = nil, 0
	s.busy = len(got) > 0
	return got
}

// run searches until nothing waits.
func (s *searcher) run() {
	for {
		batch := s.take()
		if len(batch) == 0 {
			return
		}
		s.pass(s.p.ctx, batch)
	}
}

// pass reads the log once for all of a batch and deals with each.
func (s *searcher) pass(ctx context.Context, batch []search) {
	next := batch[0].next
	found := make(map[txn.RequestID]txn.ID, len(batch))
	for i := range batch {
		next = min(next, batch[i].next)
		found[batch[i].attempt.Request] = txn.None
	}
	end, err := s.scan(ctx, next, found)
	for i := range batch {
		s.conclude(&batch[i], found[batch[i].attempt.Request], end, err)
	}
}

// scan looks for requests from next to the high-water mark and returns the ID
// after the last one that it has seen.
func (s *searcher) scan(ctx context.Context, next txn.ID, found map[txn.RequestID]txn.ID) (txn.ID, error) {
	for {
		hwm, err := s.p.HighWaterMark()
		if err != nil || next > hwm {
			return next, err
		}
		frame, err := s.p.Read(ctx, next, hwm, searchChunkBytes)
		if err != nil {
			return next, err
		}
		for r, err := range frame.All() {
			if err != nil {
				return next, s.p.readError(ctx, err)
			}
			if _, wanted := found[r.Request]; wanted {
				found[r.Request] = r.ID
			}
			next = r.ID + 1
		}
	}
}

// conclude answers an attempt that was found, hands the others back to the
// owner, or says that the log could not be searched.
func (s *searcher) conclude(one *search, id, end txn.ID, err error) {
	p, seq := s.p, one.attempt.Seq
	switch {
	case id != txn.None:
		one.from.Committed(wire.Committed{FirstSeq: seq, Count: 1, Partition: p.o.Partition, FirstID: id})
	case err != nil:
		p.counters.refused(wire.Unavailable, 1)
		one.from.Refused(seq, *refusal(p.o.Partition, err))
	default:
		g := Group{From: one.from, Attempts: []wire.Attempt{one.attempt}, searchedBefore: end}
		g.size(p.inbox.bytesMax)
		g.weight = 0 // it is bounded as a search, and must not wait for room
		if why := p.inbox.add(g); why != nil {
			one.from.Refused(seq, *why)
		}
	}
}
