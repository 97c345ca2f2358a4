package sim

import (
	"encoding/binary"

	"github.com/waltz-log/waltz/internal/locktable"
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/requests"
	"github.com/waltz-log/waltz/internal/txn"
)

// sequencer gives attempts their IDs, as server/internal/partition does: the
// same lock table and request window, rebuilt by the same rule, and answers that
// wait for what they rest on.
type sequencer struct {
	t       *tenure
	serving bool
	locks   *locktable.Table
	window  *requests.Window
	frame   []*rec // goes out as one append
	waits   []wait
}

// wait is an answer that is true once a transaction is committed.
type wait struct {
	id     txn.ID
	answer answer
	try    *attempt
	from   sending
}

// inFlightShare is that of the real sequencer.
const inFlightShare = 4

func newSequencer(t *tenure, high txn.ID) *sequencer {
	q := &sequencer{t: t}
	q.forget(q.tail(high))
	return q
}

// tail returns the first transaction that is remembered after a takeover.
func (q *sequencer) tail(high txn.ID) txn.ID { return max(0, high-txn.ID(q.t.w.window)+1) }

func (q *sequencer) forget(next txn.ID) {
	q.locks = locktable.New(q.t.w.window, 2*q.t.w.window, next-1)
	q.window = requests.New(q.t.w.window, next)
}

// rebuild reads the log's tail from one of the replicas; if none has it at hand,
// it is tried again.
func (t *tenure) rebuild() {
	if t.ended {
		return
	}
	high := t.leader.High()
	next := t.seq.tail(high)
	recs, ok := t.read(next, high)
	if !ok {
		t.w.push(&packet{kind: rebuildTimer, t: t})
		return
	}
	for _, r := range recs {
		t.seq.remember(r)
	}
	if mutant.On("locktable-empty-after-open") {
		t.seq.locks = locktable.New(t.w.window, 2*t.w.window, txn.None)
	}
	t.seq.serving = true
	t.w.note("%c: lock table and request window are rebuilt from %d to %d", int64(t.server.letter()), int64(next), int64(high))
}

func (q *sequencer) remember(r *rec) {
	for one := range record.Frame(r.frame).Trusted() {
		if mutant.On("request-window-lost-after-open") {
			one.Request[0] ^= 1
		}
		q.window.Add(one.Request)
		for i := range one.LockCount() {
			q.locks.Mark(one.Lock(i), one.ID)
		}
	}
}

// read returns committed records, from this session or from a storage that
// takes its appends.
func (t *tenure) read(first, last txn.ID) ([]*rec, bool) {
	if first > last {
		return nil, true
	}
	if high := t.leader.High(); first > high {
		return t.own[first-high-1 : last-high], true
	}
	for _, l := range t.links {
		if l == nil || !l.s.up || t.w.cut[t.server.index][l.s.index] || txn.ID(len(l.s.mem.log)) <= last {
			continue
		}
		if !t.leader.Agrees(last, l.s.mem.log[last].stamp) {
			t.w.note("%c: s%d was read from, and has another log", int64(t.server.letter()), int64(l.s.index+1))
			continue
		}
		t.w.checkRead(t, l.s, last)
		return l.s.mem.log[first : last+1], true
	}
	return nil, false
}

// attempt takes an attempt to append.
func (s *server) attempt(p *packet) {
	if p.try.gone() {
		return
	}
	t := s.tenure
	if t == nil || t.ended || !t.isOpen || !t.seq.serving || !t.seq.room() {
		p.try.later()
		return
	}
	t.seq.attempt(p.try, p.sent, txn.None)
}

// room reports whether more may be in flight: the floors name committed
// transactions only, since those in flight are a small part of what is remembered.
func (q *sequencer) room() bool {
	return int(q.t.last()-q.t.leader.Committed())+len(q.frame)+len(q.waits) < q.t.w.window/inFlightShare
}

// attempt decides one attempt's fate. searched is the end of the log that was
// searched for it.
func (q *sequencer) attempt(try *attempt, from sending, searched txn.ID) {
	if id, ok := q.window.Lookup(try.request); ok {
		q.await(wait{id: id, answer: answer{what: committedAnswer, id: id}, try: try, from: from})
		return
	}
	if floor := q.window.Floor(); max(from.mark, try.hwm) < floor && searched <= floor {
		q.unremembered(try, from)
		return
	}
	switch verdict, id := q.locks.Check(try.locks, try.hwm); verdict {
	case locktable.Conflict:
		q.refuse(wait{id: id, answer: answer{what: conflictAnswer, id: id}, try: try, from: from})
	case locktable.Stale:
		q.refuse(wait{id: q.next() - 1, answer: answer{what: staleAnswer, id: id}, try: try, from: from})
	default:
		q.take(try, from)
	}
}

// next returns the ID that the next transaction gets.
func (q *sequencer) next() txn.ID { return q.t.last() + txn.ID(len(q.frame)) + 1 }

func (q *sequencer) take(try *attempt, from sending) {
	id, stamp := q.next(), q.t.leader.Session()
	r := &rec{id: id, stamp: stamp, try: try}
	r.frame = record.Append(make([]byte, 0, record.HeaderSize+8*len(try.locks)), &record.Record{ID: id, Stamp: stamp, Request: try.request}, try.locks)
	if len(q.frame) == 0 {
		q.t.w.push(&packet{kind: flushTimer, t: q.t})
	}
	q.frame = append(q.frame, r)
	q.locks.Take(try.locks, id)
	q.window.Add(try.request)
	q.await(wait{id: id, answer: answer{what: committedAnswer, id: id}, try: try, from: from})
}

// flush sends the frame at hand to the replicas.
func (t *tenure) flush() {
	if t.ended || len(t.seq.frame) == 0 {
		return
	}
	first := t.last() + 1
	for _, r := range t.seq.frame {
		t.w.checkWritten(t, r)
		t.own = append(t.own, r)
	}
	last := t.last()
	t.seq.frame = t.seq.frame[:0]
	if err := t.leader.Append(first, last); err != nil {
		panic(violation{rule: "append", text: err.Error()})
	}
	t.w.note("%c appends %d to %d in session %d", int64(t.server.letter()), int64(first), int64(last), int64(t.leader.Session()))
	for _, l := range t.links {
		if l != nil {
			t.sendTo(l, first, last)
		}
	}
	if mutant.On("feed-before-commit") {
		t.feedAll(t.last())
	}
}

func (q *sequencer) await(w wait) {
	if w.id <= q.t.leader.Committed() {
		q.t.w.answer(q.t, &w)
		return
	}
	q.waits = append(q.waits, w)
}

// refuse answers when the reason is committed: it could be lost before (I8).
func (q *sequencer) refuse(w wait) {
	if mutant.On("conflict-answered-before-commit") {
		q.t.w.answer(q.t, &w)
		return
	}
	q.await(w)
}

// settle answers what was waiting for a commit.
func (q *sequencer) settle(committed txn.ID) {
	kept := q.waits[:0]
	for i := range q.waits {
		if q.waits[i].id > committed {
			kept = append(kept, q.waits[i])
			continue
		}
		q.t.w.answer(q.t, &q.waits[i])
	}
	clear(q.waits[len(kept):])
	q.waits = kept
}

// unremembered searches the log for a resend, and turns a first send back for a
// mark that will do: it may be a copy that was under way for long.
func (q *sequencer) unremembered(try *attempt, from sending) {
	committed := q.t.leader.Committed()
	if !from.resent {
		q.t.w.answer(q.t, &wait{answer: answer{what: markTooOld, id: committed}, try: try, from: from})
		return
	}
	recs, ok := q.t.read(max(from.mark, try.hwm)+1, committed)
	if !ok {
		try.later()
		return
	}
	for _, r := range recs {
		if r.try == try {
			q.t.w.answer(q.t, &wait{answer: answer{what: committedAnswer, id: r.id}, try: try, from: from})
			return
		}
	}
	q.attempt(try, from, committed+1)
}

func requestID(n uint64) (r txn.RequestID) {
	binary.LittleEndian.PutUint64(r[8:], n*0x9e3779b97f4a7c15)
	binary.LittleEndian.PutUint64(r[:], n)
	return r
}
