package partition

import (
	"context"
	"slices"
	"time"

	"github.com/waltz-log/waltz/internal/locktable"
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/requests"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// inFlightShare: at most about one in so many of the remembered transactions is
// in flight, so that the floors always name committed ones.
const inFlightShare = 4

// sequencer is what the owner goroutine alone reads and writes.
type sequencer struct {
	p        *Partition
	searcher *searcher
	doubter  *doubter

	session Session
	commits *commitPoint
	next    txn.ID        // the next transaction's ID
	time    txn.Timestamp // the last transaction's, and the current group's
	locks   *locktable.Table
	window  *requests.Window
	flights flights
	frame   flight // being built; its frame is nil if there is none
	ahead   int    // bytes that the groups at hand may still need
	waiting int    // answers that wait for the fate of another transaction
	failed  error  // the session refused a frame: it must not get a later one
	kept    bool   // locks and window were kept for the next session
	scratch []txn.Lock

	stalled  error            // why the session is
	patience <-chan time.Time // what is in flight is answered then; nil: nothing to answer
}

func newSequencer(p *Partition) *sequencer {
	return &sequencer{p: p, searcher: newSearcher(p), doubter: &doubter{p: p}}
}

// serve sequences and settles until the session ends or the partition is
// closed, and returns why.
func (s *sequencer) serve() error {
	closing, switches := s.p.closing, s.switches()
	var switching <-chan time.Time // nil: it is not
	for {
		late := false
		select {
		case <-s.p.wake:
		case <-s.session.Stalls():
			s.stall(s.session.Stalled())
		case <-s.patience:
			s.answerStalled()
		case <-s.session.Done():
			return s.lost(s.session.Err())
		case <-closing:
			closing = nil
		case <-switches:
			switches, switching = nil, time.After(switchMax)
		case <-switching:
			late = true
		case <-s.p.ctx.Done():
			return s.finish()
		}
		s.settle(s.commits.get())
		if closing == nil {
			if s.flights.len() == 0 || s.stalled != nil && s.patience == nil {
				return s.finish()
			}
			continue
		}
		if switching != nil {
			if s.flights.len() == 0 || late {
				return s.switchOver()
			}
			continue
		}
		if err := s.sequence(); err != nil {
			return s.lost(err)
		}
	}
}

// sequence takes what waits and hands it to the session, unless enough is in
// flight: then it waits in the inbox, and behind it the clients (I9).
func (s *sequencer) sequence() error {
	if s.flights.bytes >= s.p.o.InFlightBytesMax || s.flights.transactions+s.waiting >= s.p.o.WindowTransactions/inFlightShare {
		return nil
	}
	groups := s.p.inbox.take()
	if len(groups) == 0 {
		return nil
	}
	now := s.p.o.Now()
	s.advance(txn.TimestampOf(now))
	for i := range groups {
		s.ahead += groups[i].encoded
	}
	for i := range groups {
		s.group(&groups[i], now)
		s.p.inbox.done(&groups[i])
	}
	s.ahead = 0
	return s.flush()
}

// advance moves the partition's clock: it never goes back, whatever the
// machine's does, so that At can search by time.
func (s *sequencer) advance(now txn.Timestamp) {
	if mutant.On("timestamp-goes-back") {
		s.time = now
	}
	s.time = max(s.time, now)
}

func (s *sequencer) group(g *Group, now time.Time) {
	for i := range g.Attempts {
		a := &g.Attempts[i]
		if why := s.attempt(g, a, now); why != nil {
			s.p.counters.refused(why.Reason, 1)
			g.From.Refused(a.Seq, *why)
		}
	}
	s.ahead -= g.encoded
}

// attempt decides one attempt's fate: it is sequenced, or waits for the fate of
// another, or is refused for the returned reason.
func (s *sequencer) attempt(g *Group, a *wire.Attempt, now time.Time) *wire.Error {
	if why := s.malformed(a); why != nil {
		return why
	}
	if a.Floor() >= s.next {
		return s.doubter.add(doubt{from: g.From, seq: a.Seq, why: wire.Refuse(wire.Invalid,
			"high-water mark %d is beyond the end of the log, %d: is it another log?", a.Floor(), s.next-1)})
	}
	if id, ok := s.window.Lookup(a.Request); ok {
		s.duplicate(g, a, id)
		return nil
	}
	if floor := s.window.Floor(); a.Floor() < floor && g.searchedBefore <= floor {
		return s.unremembered(g, a)
	}
	if why := s.excessive(a); why != nil {
		return why
	}
	s.takeKeyLock(a)
	switch verdict, id := s.locks.Check(a.Locks, a.ClientHWM); verdict {
	case locktable.Conflict:
		return s.conflict(g, a, id)
	case locktable.Stale:
		s.stale(g, a, id)
		return nil
	}
	return s.take(g, a, now)
}

// takeKeyLock adds the write lock of the business key, whatever client it comes
// from: of two transactions with one key, computed from views that hold neither,
// only one commits. Its hash lies in the record, so rebuild finds it too.
func (s *sequencer) takeKeyLock(a *wire.Attempt) {
	if len(a.Key) > 0 && !mutant.On("business-key-takes-no-lock") {
		s.scratch = append(append(s.scratch[:0], a.Locks...), txn.Lock{Hash: txn.HashKey(a.Key), Mode: txn.LockWrite})
		a.Locks = s.scratch // nobody looks at it after this attempt
	}
}

// take gives the attempt its ID and encodes it. Its data is copied here, once.
func (s *sequencer) take(g *Group, a *wire.Attempt, now time.Time) *wire.Error {
	size := record.Size(len(a.Locks), len(a.Key), len(a.Data))
	if f := &s.frame; f.frame != nil && len(f.frame)+size > s.p.o.FrameBytesMax {
		if err := s.flush(); err != nil {
			return s.unavailable(err)
		}
	}
	f := &s.frame
	if f.frame == nil {
		*f = flight{frame: make(record.Frame, 0, max(size, min(s.ahead, s.p.o.FrameBytesMax))), first: s.next, at: now}
	}
	rec := record.Record{
		Partition: s.p.o.Partition, ID: s.next, Stamp: s.session.ID(), Time: s.time,
		Request: a.Request, Header: a.Header, Key: a.Key, Data: a.Data,
	}
	f.frame = record.Append(f.frame, &rec, a.Locks)
	f.last = s.next
	f.answer(g.From, a.Seq, s.next)
	s.locks.Take(a.Locks, s.next)
	s.window.Add(a.Request)
	s.next++
	return nil
}

// flush hands the frame at hand to the session. It may wait for room there.
func (s *sequencer) flush() error {
	f := s.frame
	if f.frame == nil {
		return nil
	}
	s.frame = flight{}
	if cap(f.frame) > 2*len(f.frame) { // most of what it was made for was refused; it may be cached for long
		f.frame = slices.Clone(f.frame)
	}
	s.flights.push(f)
	s.p.counters.sequenced(&f, s.flights.transactions)
	if mutant.On("feed-before-commit") {
		s.p.o.Tail.Publish(f.frame, f.first, f.last)
	}
	if s.failed == nil {
		s.failed = s.session.Append(s.p.ctx, f.frame, f.last)
	}
	return s.failed
}

// settle answers and publishes what has been committed up to id. Only whole
// frames are: the session commits what it was handed as a piece.
func (s *sequencer) settle(id txn.ID) {
	for s.flights.len() > 0 && s.flights.front().last <= id {
		f := s.flights.pop()
		if !mutant.On("feed-before-commit") {
			s.p.o.Tail.Publish(f.frame, f.first, f.last)
		}
		for i := range f.spans {
			f.spans[i].commit(s.p.o.Partition)
		}
		s.waiting -= len(f.waits)
		for i := range f.waits {
			s.p.counters.waited(&f.waits[i])
			f.waits[i].commit(s.p.o.Partition)
		}
		s.p.counters.committed(&f, s.flights.transactions, s.p.o.Now())
	}
}

// duplicate answers an attempt that was sequenced before with what became of it.
func (s *sequencer) duplicate(g *Group, a *wire.Attempt, id txn.ID) {
	s.await(id, wait{from: g.From, seq: a.Seq, request: a.Request, id: id})
}

// conflict refuses an attempt when the transaction that took its lock is
// committed: only then is it true (I8), and only then can a client's view ever
// show that transaction.
func (s *sequencer) conflict(g *Group, a *wire.Attempt, cause txn.ID) *wire.Error {
	w := wait{from: g.From, seq: a.Seq, request: a.Request, id: cause, refused: wire.LockConflict}
	if mutant.On("conflict-answered-before-commit") {
		w.commit(s.p.o.Partition)
		return nil
	}
	s.await(cause, w)
	return nil
}

// stale refuses an attempt for the floor. What is in flight has raised it, and
// could take that back by being lost; a copy of the attempt that comes in late
// would then commit after it was refused. So the answer waits for all of it (I8).
func (s *sequencer) stale(g *Group, a *wire.Attempt, floor txn.ID) {
	s.await(s.next-1, wait{from: g.From, seq: a.Seq, request: a.Request, id: floor, refused: wire.Stale})
}

// await answers w when transaction id is committed, now if it is.
func (s *sequencer) await(id txn.ID, w wait) {
	switch f := s.flights.find(id); {
	case s.frame.frame != nil && id >= s.frame.first:
		s.frame.waits = append(s.frame.waits, w)
		s.waiting++
	case f != nil:
		f.waits = append(f.waits, w)
		s.waiting++
	default:
		s.p.counters.waited(&w)
		w.commit(s.p.o.Partition)
	}
}

// unremembered deals with an attempt that may have been committed before the
// window begins. A resend is searched for in the log (I4); what claims to be a
// first send may be a copy that was under way for long, so it is turned back
// for a fresh mark: guessing is not an option, and searching the whole log for
// every new client neither.
func (s *sequencer) unremembered(g *Group, a *wire.Attempt) *wire.Error {
	if !a.Resend {
		return &wire.Error{
			Reason: wire.MarkTooOld, TransactionID: s.committed(),
			Message: "send it again with this high-water mark as the sent one",
		}
	}
	return s.searcher.add(search{
		from: g.From, attempt: a.Clone(), next: max(a.Floor()+1, g.searchedBefore), bytes: len(a.Data),
	})
}

// committed returns the log's high-water mark.
func (s *sequencer) committed() txn.ID {
	hwm, _ := s.p.o.Tail.Committed()
	return hwm
}

func (s *sequencer) unavailable(err error) *wire.Error { return refusal(s.p.o.Partition, err) }

// excessive returns the limit that an attempt is above, or nil. Limits may have
// been lowered since it was first sent, so it is only asked of what is known not to
// be in the log: else a committed transaction would be refused (I8).
func (s *sequencer) excessive(a *wire.Attempt) *wire.Error {
	o := &s.p.o
	switch {
	case len(a.Data) > o.DataBytesMax:
		return limited(wire.TooLarge, o.DataBytesMax, "data has %d bytes, at most %d are allowed", len(a.Data), o.DataBytesMax)
	case len(a.Locks) > o.LocksMax:
		return limited(wire.TooManyLocks, o.LocksMax, "it takes %d locks, at most %d are allowed", len(a.Locks), o.LocksMax)
	}
	return nil
}

// malformed returns what no server ever takes, or nil.
func (s *sequencer) malformed(a *wire.Attempt) *wire.Error {
	switch {
	case len(a.Key) > record.KeyMax:
		return limited(wire.Invalid, record.KeyMax, "business key has %d bytes, at most %d are allowed", len(a.Key), record.KeyMax)
	case a.Request == txn.RequestID{}:
		return wire.Refuse(wire.Invalid, "request ID is zero")
	case a.ClientHWM < txn.None || a.SentHWM < txn.None:
		return wire.Refuse(wire.Invalid, "high-water mark %d is below %d", min(a.ClientHWM, a.SentHWM), txn.None)
	}
	return nil
}

func limited(r wire.Reason, limit int, format string, args ...any) *wire.Error {
	e := wire.Refuse(r, format, args...)
	e.Limit = int64(limit)
	return e
}

// finish ends the session of a partition that is being closed.
func (s *sequencer) finish() error {
	s.p.session.Store(nil)
	s.p.o.Tail.Lost()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.p.ctx), s.p.o.ReopenMax)
	defer cancel()
	if err := s.session.Close(ctx); err != nil {
		s.p.o.Logger.Warn("close store session", "partition", s.p.o.Partition, "session", s.session.ID(), "error", err)
	}
	s.p.o.Logger.Info("partition closed", "partition", s.p.o.Partition, "high_water_mark", s.committed(), "unanswered_frames", s.flights.len())
	return errClosing
}
