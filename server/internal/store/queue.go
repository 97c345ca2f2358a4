package store

import (
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
type queue struct {
	ring  []group
	head  int // index of the oldest
	count int
	bytes int
	last  txn.ID // of the newest ever put in
	stamp txn.SessionID
}

// begin says where the log ends before the first group.
func (q *queue) begin(last txn.ID, stamp txn.SessionID) { q.last, q.stamp = last, stamp }

func (q *queue) empty() bool { return q.count == 0 }

// push adds a frame of records stamped by the session and returns its group.
func (q *queue) push(frame record.Frame, last txn.ID, stamp txn.SessionID) group {
	if q.count == len(q.ring) {
		q.grow()
	}
	g := group{prev: q.last, prevStamp: q.stamp, last: last, frame: frame}
	q.ring[(q.head+q.count)%len(q.ring)] = g
	q.count++
	q.bytes += len(frame)
	q.last, q.stamp = last, stamp
	return g
}

func (q *queue) grow() {
	bigger := make([]group, max(16, 2*len(q.ring)))
	for i := range q.count {
		bigger[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring, q.head = bigger, 0
}

// release forgets the groups that are committed, and reports whether any was.
func (q *queue) release(committed txn.ID) bool {
	before := q.count
	for q.count > 0 && q.ring[q.head].last <= committed {
		q.bytes -= len(q.ring[q.head].frame)
		q.ring[q.head] = group{}
		q.head = (q.head + 1) % len(q.ring)
		q.count--
	}
	return q.count < before
}

// behind returns the records behind id that are still held, as far as one group
// goes.
func (q *queue) behind(id txn.ID) (group, bool) {
	for i := range q.count {
		g := q.ring[(q.head+i)%len(q.ring)]
		if g.prev <= id && id < g.last {
			return g.from(id, q.stamp), true
		}
	}
	return group{}, false
}

// from cuts off what a replica holds already: records up to id.
func (g group) from(id txn.ID, stamp txn.SessionID) group {
	for g.prev < id {
		g.frame = g.frame[g.frame.TrustedLen():]
		g.prev, g.prevStamp = g.prev+1, stamp
	}
	return g
}
