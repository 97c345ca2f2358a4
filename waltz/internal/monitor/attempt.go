package monitor

import "github.com/waltz-log/waltz/internal/txn"

// State tells where an attempt is.
type State uint8

// The states; the package comment has their diagram.
const (
	Fresh    State = iota // not in the books, never was
	Held                  // the limits are reached
	Waiting               // to be sent as soon as its server can take it
	Parked                // refused for now; see Release
	Sent                  // on a stream, not answered
	Answered              // Outcome is valid
	Dropped               // given up and out of the books without an answer
)

// Reason is why a server refused, numbered as in the wire contract.
type Reason int32

// The reasons that make a difference here; any other is for good.
const (
	Accepted     Reason = 0 // not refused
	NotOwner     Reason = 7
	Unavailable  Reason = 8
	StorageFull  Reason = 9
	ShuttingDown Reason = 11
	MarkTooOld   Reason = 12 // SentMark is; ID is one that will do
)

// ForNow reports whether a refusal passes, so that the attempt is sent again.
func (r Reason) ForNow() bool {
	switch r {
	case NotOwner, Unavailable, StorageFull, ShuttingDown:
		return true
	}
	return false
}

// harmless reports whether a refusal for now proves that this send committed
// nothing. A server that lost its majority may have written before it lost it.
func (r Reason) harmless() bool { return r != Unavailable }

// Outcome is a server's answer to an attempt.
type Outcome struct {
	Reason  Reason // Accepted: committed as ID
	ID      txn.ID // committed: its own; refused: the one that the reason speaks of
	Limit   int64  // what is allowed, for the reasons that are limits
	Message string // what to do, in the server's words
}

// Attempt is one append under one request ID. Partition, Body and Shell are
// the caller's and don't change while it is in the books; SentMark is the
// caller's to begin with; the rest is read only.
type Attempt struct {
	Partition txn.Partition
	Body      []byte // encoded, with the request ID, without the resend mark
	SentMark  txn.ID // it can only be committed above this ID
	Shell     any    // what the caller needs to find its own state

	State   State
	Unsure  bool    // an answer was lost: it may have been committed (I8)
	Outcome Outcome // valid when Answered
	Trouble Outcome // last refusal for now; Accepted if none

	abandoned  bool // nobody listens
	admitted   bool // counts towards the limits
	list       *list
	prev, next *Attempt
}

// Reset makes a used attempt new, keeping Shell and the space of Body.
func (a *Attempt) Reset() { *a = Attempt{Body: a.Body[:0], Shell: a.Shell} }

// size is what an attempt takes of the byte limits: its body and what frames it.
func (a *Attempt) size() int { return len(a.Body) + framing }

// framing bounds the bytes around a body in a message: codec.Framing.
const framing = 19

// list is a queue of attempts with removal from anywhere, which is what keeps
// it bounded by the callers that still wait.
type list struct {
	head, tail *Attempt
	n          int
}

func (l *list) pushBack(a *Attempt) {
	a.list, a.prev, a.next = l, l.tail, nil
	if l.tail != nil {
		l.tail.next = a
	} else {
		l.head = a
	}
	l.tail = a
	l.n++
}

func (l *list) pushFront(a *Attempt) {
	a.list, a.prev, a.next = l, nil, l.head
	if l.head != nil {
		l.head.prev = a
	} else {
		l.tail = a
	}
	l.head = a
	l.n++
}

func (l *list) remove(a *Attempt) {
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		l.head = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	} else {
		l.tail = a.prev
	}
	a.list, a.prev, a.next = nil, nil, nil
	l.n--
}

// drain moves all to the end of a slice.
func (l *list) drain(to []*Attempt) []*Attempt {
	for a := l.head; a != nil; a = l.head {
		l.remove(a)
		to = append(to, a)
	}
	return to
}
