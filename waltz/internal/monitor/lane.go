package monitor

import (
	"fmt"

	"github.com/waltz-log/waltz/internal/txn"
)

// Lane is one server: what waits for it, and what is on its stream. Numbers
// on a stream start at 0.
type Lane struct {
	monitor *Monitor
	waiting list
	open    bool
	base    uint64     // number of sent[head]
	head    int        // sent[:head] is answered
	sent    []*Attempt // nil: answered
	out     int        // unanswered ones in sent
}

// Open tells that there is a new stream.
func (l *Lane) Open() { l.open = true }

// Sendable reports whether there is something to send and a stream for it.
func (l *Lane) Sendable() bool { return l.open && l.waiting.n > 0 }

// Waiting returns how many attempts wait to be sent.
func (l *Lane) Waiting() int { return l.waiting.n }

// Out returns how many attempts are on the stream without an answer.
func (l *Lane) Out() int { return l.out }

// Next moves what waits onto the stream, up to bytesMax or one attempt, and
// returns it with the number of the first. The slice is valid until the next
// event; bodies must be copied before it.
func (l *Lane) Next(bytesMax int) (first uint64, group []*Attempt) {
	first = l.base + uint64(len(l.sent)-l.head)
	l.compact()
	start, size := len(l.sent), 0
	for a := l.waiting.head; a != nil && l.open; a = l.waiting.head {
		if size += a.size(); size > bytesMax && len(l.sent) > start {
			break
		}
		l.waiting.remove(a)
		a.State = Sent
		l.sent = append(l.sent, a)
	}
	group = l.sent[start:]
	l.out += len(group)
	return first, group
}

// compact reuses the answered front of sent once it is the larger part.
func (l *Lane) compact() {
	if l.head < len(l.sent)-l.head || l.head == 0 {
		return
	}
	n := copy(l.sent, l.sent[l.head:])
	clear(l.sent[n:])
	l.sent, l.head = l.sent[:n], 0
}

// Break tells that the stream is gone: every answer not yet had is lost. What
// somebody still listens to waits again, in the old order and before all else.
func (l *Lane) Break() {
	l.open = false
	lost := l.sent[l.head:]
	for i := len(lost) - 1; i >= 0; i-- {
		if a := lost[i]; a != nil {
			l.lose(a)
		}
	}
	clear(l.sent)
	l.sent, l.head, l.base, l.out = l.sent[:0], 0, 0, 0
}

func (l *Lane) lose(a *Attempt) {
	a.Unsure = true
	if a.abandoned {
		l.monitor.leave(a, Dropped)
		return
	}
	a.State = Waiting
	l.monitor.queueOf(a).pushFront(a)
}

// ProtocolError is an answer that no correct server gives; the stream can't be
// believed any more.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "server breaks the append protocol: " + e.Reason }

func violation(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// Committed takes an answer: count transactions from number first were
// committed as id and on. Nothing of an answer that violates the protocol counts
// from the first mismatch on.
func (l *Lane) Committed(first uint64, count uint32, p txn.Partition, id txn.ID) error {
	if id < 0 {
		return violation("committed as transaction %d", id)
	}
	for i := range uint64(count) {
		a, err := l.unanswered(first + i)
		if err != nil {
			return err
		}
		own := id + txn.ID(i)
		if a.Partition != p {
			return violation("number %d belongs to partition %d and was committed in %d", first+i, a.Partition, p)
		}
		if own <= a.SentMark {
			return violation("number %d was committed as %d, which was taken before it was sent", first+i, own)
		}
		l.answer(first+i, a, Outcome{ID: own})
	}
	l.advance()
	return nil
}

// Refused takes the refusal of one transaction and returns its partition.
func (l *Lane) Refused(seq uint64, o Outcome) (txn.Partition, error) {
	a, err := l.unanswered(seq)
	if err != nil {
		return 0, err
	}
	p := a.Partition
	switch {
	case o.Reason == Accepted:
		return 0, violation("number %d was refused without a reason", seq)
	case o.Reason == MarkTooOld && !a.Unsure && o.ID > a.SentMark:
		l.remark(seq, a, o.ID)
	case o.Reason.ForNow(), o.Reason == MarkTooOld:
		l.park(seq, a, o)
	default:
		l.answer(seq, a, o)
	}
	l.advance()
	return p, nil
}

func (l *Lane) unanswered(seq uint64) (*Attempt, error) {
	i := seq - l.base
	if seq < l.base || i >= uint64(len(l.sent)-l.head) {
		return nil, violation("answers number %d, of %d to %d on the way", seq, l.base, l.base+uint64(len(l.sent)-l.head))
	}
	a := l.sent[l.head+int(i)]
	if a == nil {
		return nil, violation("answers number %d a second time", seq)
	}
	return a, nil
}

func (l *Lane) clear(seq uint64) {
	l.sent[l.head+int(seq-l.base)] = nil
	l.out--
}

// advance drops the answered front.
func (l *Lane) advance() {
	for l.head < len(l.sent) && l.sent[l.head] == nil {
		l.head++
		l.base++
	}
}

func (l *Lane) answer(seq uint64, a *Attempt, o Outcome) {
	l.clear(seq)
	a.Outcome = o
	l.monitor.leave(a, Answered)
	l.monitor.done = append(l.monitor.done, a)
}

// remark sends an attempt again at once as if for the first time: the server did
// nothing, and no answer of an earlier send is outstanding.
func (l *Lane) remark(seq uint64, a *Attempt, mark txn.ID) {
	l.clear(seq)
	a.SentMark = mark
	if a.abandoned {
		l.monitor.leave(a, Dropped)
		return
	}
	a.State = Waiting
	l.monitor.queueOf(a).pushFront(a)
}

// park keeps an attempt for Release. A refusal says nothing about sends before
// this one, so Unsure stays.
func (l *Lane) park(seq uint64, a *Attempt, o Outcome) {
	l.clear(seq)
	a.Trouble = o
	a.Unsure = a.Unsure || !o.Reason.harmless()
	if a.abandoned {
		l.monitor.leave(a, Dropped)
		return
	}
	a.State = Parked
	l.monitor.parked.pushBack(a)
}

// evict moves what waits for a partition to the end of another queue.
func (l *Lane) evict(p txn.Partition, to *list) {
	for a := l.waiting.head; a != nil; {
		next := a.next
		if a.Partition == p {
			l.waiting.remove(a)
			to.pushBack(a)
		}
		a = next
	}
}
