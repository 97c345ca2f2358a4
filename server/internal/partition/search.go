package partition

import (
	"context"
	"sync"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
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

func (s *search) refuse(p *Partition, why wire.Error) {
	p.counters.refused(why.Reason, 1)
	s.from.Refused(s.attempt.Seq, why)
}

// searcher finds out from the log itself what became of attempts that were
// first sent before the request window begins (I4). It works beside the owner,
// on all that wait at once, in one pass; those it does not find it hands back
// to the owner with the ID up to which they are certainly not in the log.
//
// What is damaged it can't look into: an attempt that is not found elsewhere and
// may be in there is refused for that, and one that can't is not held up by it.
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
	seen := s.scan(ctx, next, found)
	for i := range batch {
		s.conclude(&batch[i], found[batch[i].attempt.Request], seen)
	}
}

// scanned is how far a scan got.
type scanned struct {
	end     txn.ID // behind the last transaction that it came to
	damaged txn.ID // the last one below end that it could not read, None if there is none
	err     error  // why it could not go on
}

// scan looks for requests from next to the high-water mark.
func (s *searcher) scan(ctx context.Context, next txn.ID, found map[txn.RequestID]txn.ID) scanned {
	seen := scanned{end: next, damaged: txn.None}
	for seen.err == nil {
		hwm, err := s.p.Committed()
		if err != nil || seen.end > hwm {
			seen.err = err
			return seen
		}
		frame, err := s.p.Read(ctx, seen.end, hwm, searchChunkBytes)
		if damaged(err) {
			seen.pass(ctx, s.p, hwm)
			continue
		}
		if seen.err = err; err == nil {
			seen.look(frame, found)
		}
	}
	return seen
}

func (s *scanned) look(frame record.Frame, found map[txn.RequestID]txn.ID) {
	for r := range frame.Trusted() {
		if _, wanted := found[r.Request]; wanted {
			found[r.Request] = r.ID
		}
		s.end = r.ID + 1
	}
}

// pass goes on behind damage.
func (s *scanned) pass(ctx context.Context, p *Partition, hwm txn.ID) {
	last, err := damageEnd(s.end, hwm, func(id txn.ID) error {
		_, err := p.Read(ctx, id, id, 1)
		return err
	})
	if s.err = err; err == nil {
		s.damaged, s.end = last, last+1
	}
}

// conclude answers an attempt that was found, hands one that certainly is not in
// the log back to the owner, or says that the log does not tell.
func (s *searcher) conclude(one *search, id txn.ID, seen scanned) {
	p, seq := s.p, one.attempt.Seq
	switch {
	case id != txn.None:
		one.from.Committed(wire.Committed{FirstSeq: seq, Count: 1, Partition: p.o.Partition, FirstID: id})
	case seen.damaged >= one.next && !mutant.On("damage-taken-for-absence"):
		one.refuse(p, *wire.Refuse(wire.Corrupt, "partition %d: sent before, above transaction %d; transaction %d is damaged, so the log can't tell whether it was committed",
			p.o.Partition, one.next-1, seen.damaged))
	case seen.err != nil:
		one.refuse(p, *refusal(p.o.Partition, seen.err))
	default:
		g := Group{From: one.from, Attempts: []wire.Attempt{one.attempt}, searchedBefore: seen.end}
		g.size(p.inbox.bytesMax)
		g.weight = 0 // it is bounded as a search, and must not wait for room
		if why := p.inbox.add(g); why != nil {
			one.from.Refused(seq, *why)
		}
	}
}
