package store

import (
	"math"
	"sort"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// group is one frame on its way: the records behind (prev, prevStamp) up to last.
type group struct {
	prev      txn.ID
	prevStamp txn.SessionID
	last      txn.ID
	frame     record.Frame
}

// queue holds the groups that were appended and are not committed, in order: a
// ring that grows to what is in flight and is bounded by Config.QueueMax bytes.
//
// Committed ones are let go at once, whoever of the minority has yet to get them
// (I9), but for the last stretch of a replica that catches up: what is committed
// between its read of the log and its next turn is kept, Config.LinkMax bytes at
// most, or it would stay one step behind for ever.
type queue struct {
	ring  []group
	head  int // index of the oldest
	count int
	kept  int // so many of the oldest are committed
	last  txn.ID
	stamp txn.SessionID // of last

	bytes     int    // of what is not committed
	keptBytes int    // of what is
	keepMax   int    // bound of keptBytes
	keepFrom  txn.ID // committed groups above it are kept
}

const keepNothing = txn.ID(math.MaxInt64)

// begin says where the log ends before the first group.
func (q *queue) begin(last txn.ID, stamp txn.SessionID) {
	q.last, q.stamp, q.keepFrom = last, stamp, keepNothing
}

// empty reports whether all that was put in is committed.
func (q *queue) empty() bool { return q.count == q.kept }

// oldest returns the first ID that is not committed; the queue is not empty.
func (q *queue) oldest() txn.ID { return q.at(q.kept).prev + 1 }

func (q *queue) at(i int) *group { return &q.ring[(q.head+i)%len(q.ring)] }

// push adds a frame of records stamped by the session and returns its group.
func (q *queue) push(frame record.Frame, last txn.ID, stamp txn.SessionID) group {
	if q.count == len(q.ring) {
		q.grow()
	}
	g := group{prev: q.last, prevStamp: q.stamp, last: last, frame: frame}
	q.count++
	*q.at(q.count - 1) = g
	q.bytes += len(frame)
	q.last, q.stamp = last, stamp
	return g
}

func (q *queue) grow() {
	bigger := make([]group, max(16, 2*len(q.ring)))
	for i := range q.count {
		bigger[i] = *q.at(i)
	}
	q.ring, q.head = bigger, 0
}

// release lets go of the groups that are committed, and reports whether any was
// not before.
func (q *queue) release(committed txn.ID) bool {
	before := q.kept
	for q.kept < q.count && q.at(q.kept).last <= committed {
		n := len(q.at(q.kept).frame)
		q.bytes -= n
		q.keptBytes += n
		q.kept++
	}
	if q.kept == before {
		return false
	}
	q.trim()
	return true
}

// keep says from where on committed groups are kept.
func (q *queue) keep(from txn.ID) {
	q.keepFrom = from
	q.trim()
}

// trim drops what is kept for nobody, or beyond the bound.
func (q *queue) trim() {
	for q.kept > 0 && (q.at(0).last <= q.keepFrom || q.keptBytes > q.keepMax) {
		q.keptBytes -= len(q.at(0).frame)
		*q.at(0) = group{}
		q.head = (q.head + 1) % len(q.ring)
		q.count--
		q.kept--
	}
}

// behind returns the records behind id that are still held, as far as one group
// goes.
func (q *queue) behind(id txn.ID) (group, bool) {
	i := sort.Search(q.count, func(i int) bool { return q.at(i).last > id })
	if i == q.count || q.at(i).prev > id {
		return group{}, false
	}
	return q.at(i).from(id, q.stamp), true
}

// from cuts off what a replica holds already: records up to id.
func (g group) from(id txn.ID, stamp txn.SessionID) group {
	for g.prev < id {
		g.frame = g.frame[g.frame.TrustedLen():]
		g.prev, g.prevStamp = g.prev+1, stamp
	}
	return g
}

// window is what one replica was sent and has not answered, oldest first. It is
// bounded by Config.LinkMax bytes, or one group.
type window struct {
	sent  []sending
	bytes int
}

type sending struct {
	last  txn.ID
	bytes int
}

// fits reports whether n more bytes may be sent within a bound.
func (w *window) fits(n, bound int) bool { return len(w.sent) == 0 || w.bytes+n <= bound }

func (w *window) push(last txn.ID, bytes int) {
	w.sent = append(w.sent, sending{last, bytes})
	w.bytes += bytes
}

// takeBack forgets the newest one: it was not taken.
func (w *window) takeBack() {
	if n := len(w.sent); n > 0 {
		w.bytes -= w.sent[n-1].bytes
		w.sent = w.sent[:n-1]
	}
}

// answered forgets everything up to last.
func (w *window) answered(last txn.ID) {
	n := 0
	for n < len(w.sent) && w.sent[n].last <= last {
		w.bytes -= w.sent[n].bytes
		n++
	}
	if n > 0 {
		w.sent = w.sent[:copy(w.sent, w.sent[n:])]
	}
}
