package storageclient

import (
	"fmt"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// link is what waits to be sent and to be answered. Client.mu guards it; it has no
// goroutine and makes no calls.
type link struct {
	stream grpc.ClientStream // nil: none
	closed error             // Append returns it
	full   error             // what the storage said of its disk

	lanes   map[txn.Partition]*lane
	waiting []session.Append // not sent yet
	spare   []session.Append // an array to use for what waits next
	next    uint64           // number of the next append
	sent    uint64           // number of the first one that waits
	sending bool             // somebody is in pump
	bytes   int              // what waits to be sent or answered
	onWay   int              // of it, what was sent
}

// overhead is about what an append takes on the wire besides its records.
const overhead = 96

func cost(m *session.Append) int { return len(m.Records) + overhead }

// finished is an append whose caller is to be told, when mu is free.
type finished struct {
	done   func(session.Appended, error)
	answer session.Appended
	err    error
}

// push queues an append.
func (l *link) push(m *session.Append, done func(session.Appended, error)) {
	ln := l.lanes[m.Partition]
	if ln == nil {
		ln = &lane{}
		l.lanes[m.Partition] = ln
	}
	ln.push(entry{seq: l.next, bytes: cost(m), done: done})
	l.waiting = append(l.waiting, *m)
	l.bytes += cost(m)
	l.next++
}

// take fills a message with what waits, up to groupBytes unless the first append
// alone is larger.
func (l *link) take(g *wire.StorageAppends) {
	n, bytes := 0, 0
	for n < len(l.waiting) && (n == 0 || bytes+cost(&l.waiting[n]) <= groupBytes) {
		bytes += cost(&l.waiting[n])
		n++
	}
	g.FirstSeq, g.Appends = l.sent, l.waiting[:n]
	l.waiting, l.spare = append(l.spare, l.waiting[n:]...), nil
	clear(g.Appends[n:cap(g.Appends)]) // what was copied
	l.sent += uint64(n)
	l.onWay += bytes
}

// giveBack takes the array of a message that was sent.
func (l *link) giveBack(g *wire.StorageAppends) {
	clear(g.Appends)
	l.spare, g.Appends = g.Appends[:0], nil
}

// answered takes all appends of a partition up to a number out of its lane, and
// adds them to out.
func (l *link) answered(a *wire.StorageAppended, out []finished) ([]finished, error) {
	ln := l.lanes[a.Partition]
	if ln == nil || a.Seq >= l.sent {
		return out, fmt.Errorf("it answered append %d of partition %d, which it was not sent", a.Seq, a.Partition)
	}
	for ln.count > 0 && ln.at(0).seq <= a.Seq {
		out = l.settle(ln.remove(0), session.Appended{Replica: a.Replica, Last: a.Last}, nil, out)
	}
	return out, nil
}

// failed takes one append that was not taken out of its lane. Those behind it are
// refused for themselves, as not following the storage's log.
func (l *link) failed(f *wire.StorageFailed, out []finished) ([]finished, error) {
	ln := l.lanes[f.Partition]
	i := -1
	if ln != nil && f.Seq < l.sent {
		i = ln.find(f.Seq)
	}
	if i < 0 {
		return out, fmt.Errorf("it failed append %d of partition %d, which was not sent or is answered", f.Seq, f.Partition)
	}
	return l.settle(ln.remove(i), session.Appended{}, f.Error, out), nil
}

// settle books an append that was answered.
func (l *link) settle(e entry, answer session.Appended, err error, out []finished) []finished {
	l.bytes -= e.bytes
	l.onWay -= e.bytes
	return append(out, finished{done: e.done, answer: answer, err: err})
}

// breakOff empties everything, and returns whose appends are unanswered.
func (l *link) breakOff(err error) (out []finished) {
	for _, ln := range l.lanes {
		for i := range ln.count {
			out = append(out, finished{done: ln.at(i).done, err: err})
		}
	}
	clear(l.lanes)
	l.stream, l.full, l.waiting, l.sent, l.bytes, l.onWay = nil, nil, nil, l.next, 0, 0
	return out
}

// lane is one partition's appends that are unanswered, in order: a ring that grows
// to what is in flight.
type lane struct {
	ring  []entry
	head  int
	count int
}

// entry is one append that is unanswered.
type entry struct {
	seq   uint64
	bytes int
	done  func(session.Appended, error)
}

// at returns the i-th oldest.
func (ln *lane) at(i int) *entry { return &ln.ring[(ln.head+i)%len(ln.ring)] }

func (ln *lane) push(e entry) {
	if ln.count == len(ln.ring) {
		bigger := make([]entry, max(4, 2*len(ln.ring)))
		for i := range ln.count {
			bigger[i] = *ln.at(i)
		}
		ln.ring, ln.head = bigger, 0
	}
	ln.count++
	*ln.at(ln.count - 1) = e
}

// find returns the index of a number, -1 if it is not there.
func (ln *lane) find(seq uint64) int {
	for i := range ln.count {
		if ln.at(i).seq == seq {
			return i
		}
	}
	return -1
}

// remove takes out the i-th oldest.
func (ln *lane) remove(i int) entry {
	e := *ln.at(i)
	for ; i > 0; i-- {
		*ln.at(i) = *ln.at(i - 1)
	}
	*ln.at(0) = entry{}
	ln.head = (ln.head + 1) % len(ln.ring)
	ln.count--
	return e
}
