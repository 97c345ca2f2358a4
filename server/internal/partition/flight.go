package partition

import (
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// flight is a frame between sequencing and commit, with the answers that depend
// on it.
type flight struct {
	frame       record.Frame
	first, last txn.ID
	spans       []span // its own transactions
	waits       []wait // other attempts
	at          time.Time
}

// span is attempts of one client with consecutive numbers that got consecutive IDs.
type span struct {
	from  Answerer
	seq   uint64
	count uint32
	first txn.ID
}

func (s *span) commit(p txn.Partition) {
	s.from.Committed(wire.Committed{FirstSeq: s.seq, Count: s.count, Partition: p, FirstID: s.first})
}

// answer notes whom to tell that a transaction, the frame's last, is committed.
func (f *flight) answer(from Answerer, seq uint64, id txn.ID) {
	if n := len(f.spans); n > 0 {
		s := &f.spans[n-1]
		if s.from == from && s.seq+uint64(s.count) == seq && s.first+txn.ID(s.count) == id {
			s.count++
			return
		}
	}
	f.spans = append(f.spans, span{from: from, seq: seq, count: 1, first: id})
}

// wait is an attempt whose answer waits for the fate of an earlier transaction:
// it is committed as id, being the same request, or refused with id as the cause
// or the floor.
type wait struct {
	from    Answerer
	seq     uint64
	request txn.RequestID
	id      txn.ID
	refused wire.Reason // LockConflict, Stale; 0: it is committed
}

// commit answers it: what it waited for is committed.
func (w *wait) commit(p txn.Partition) {
	if w.refused != 0 {
		w.from.Refused(w.seq, wire.Error{Reason: w.refused, TransactionID: w.id})
		return
	}
	w.from.Committed(wire.Committed{FirstSeq: w.seq, Count: 1, Partition: p, FirstID: w.id})
}

// flights are the frames in flight, oldest first.
type flights struct {
	list         []flight
	bytes        int
	transactions int
}

func (q *flights) len() int       { return len(q.list) }
func (q *flights) front() *flight { return &q.list[0] }

func (q *flights) push(f flight) {
	q.list = append(q.list, f)
	q.bytes += len(f.frame)
	q.transactions += int(f.last - f.first + 1)
}

func (q *flights) pop() flight {
	f := q.list[0]
	q.list[0] = flight{}
	q.list = q.list[1:]
	q.bytes -= len(f.frame)
	q.transactions -= int(f.last - f.first + 1)
	return f
}

// find returns the frame in flight that holds a transaction, or nil.
func (q *flights) find(id txn.ID) *flight {
	for i := len(q.list) - 1; i >= 0; i-- {
		if f := &q.list[i]; f.first <= id {
			if id <= f.last {
				return f
			}
			return nil
		}
	}
	return nil
}
