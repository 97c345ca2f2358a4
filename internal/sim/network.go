package sim

import (
	"errors"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// kind says what a packet is. Those from timer on are no messages: they are what
// somebody will do or notice in a while.
type kind uint8

const (
	toStorage    kind = iota // a request other than an append
	fromStorage              // its answer
	toSource                 // a read for a copy
	stream                   // the next append of a link
	appended                 // its answer
	refused                  // its refusal
	toRegister               // a load or change of M
	fromRegister             // its answer
	attemptSent
	attemptAnswered
	feedAsked
	feedSent
	confirmSent
	confirmed
	timer
	callTimer    // a call is given up
	linkTimer    // a broken stream is noticed
	retryTimer   // a storage is tried again
	reopenTimer  // a server claims anew
	lostTimer    // no majority answers for too long
	switchTimer  // a session on the target is opened
	touchTimer   // a server hears that M was changed
	flushTimer   // a frame goes out
	rebuildTimer // the log's tail is read
	attemptTimer // a client sends again
)

// packet is a message under way, or a timer.
type packet struct {
	kind kind
	t    *tenure
	s    *storage
	call *call
	link *link

	out   session.Output // of a request
	event session.Event  // of an answer
	recs  []*rec         // of a copy, or a feed
	last  session.Appended
	why   error

	m       session.PartitionState
	version int

	server *server
	c      *client
	try    *attempt
	sent   sending
	answer answer
	epoch  int
	round  *round
}

// call is a call that a server waits for.
type call struct {
	done   bool
	source *storage // of a copy
}

var (
	errNoAnswer = errors.New("no answer")
	errMissing  = errors.New("the source has lost it")
)

func (p *packet) isMessage() bool { return p.kind < timer }

// push puts a packet under way.
func (w *world) push(p *packet) { w.flight = append(w.flight, p) }

// take removes the i-th packet.
func (w *world) take(i int) *packet {
	p := w.flight[i]
	n := copy(w.flight[i:], w.flight[i+1:])
	w.flight[i+n] = nil
	w.flight = w.flight[:i+n]
	return p
}

// deliverSome lets one packet arrive: often the oldest or the newest, and one of
// a slow storage or server only if there is no other.
func (w *world) deliverSome(a uint16) {
	n := len(w.flight)
	if n == 0 {
		return
	}
	i := int(a>>2) % n
	switch a & 3 {
	case 0:
		i = 0
	case 1:
		i = n - 1
	}
	for range n {
		if w.slow == 0 || !w.isSlow(w.flight[i]) {
			break
		}
		i = (i + 1) % n
	}
	w.deliver(w.take(i))
}

// isSlow reports whether a packet's storage or server is slow.
func (w *world) isSlow(p *packet) bool {
	var who uint16
	if p.s != nil {
		who |= 1 << p.s.index
	}
	if p.t != nil {
		who |= 1 << (storagesMax + p.t.server.index)
	}
	return w.slow&who != 0
}

// passes reports whether the network lets a message through.
func (w *world) passes(p *packet) bool {
	server, node := serversMax, storagesMax
	if p.t != nil {
		server = p.t.server.index
	} else if p.server != nil {
		server = p.server.index
	}
	if p.s != nil {
		node = p.s.index
	}
	return !w.cut[server][node]
}

// deliver lets a packet arrive where it belongs.
func (w *world) deliver(p *packet) {
	if !p.isMessage() {
		w.expire(p)
		return
	}
	w.messages++
	w.trace.add(uint64(p.kind))
	if !w.passes(p) || p.s != nil && p.toDisk() && !p.s.up {
		w.lose(p)
		return
	}
	if repeatable := p.kind == toStorage || p.kind == fromStorage || p.kind == appended || p.kind == attemptSent && w.messages%8 == 0; repeatable {
		w.past[w.passed%len(w.past)] = p
		w.passed++
	}
	w.handle(p)
	w.checkRecoverable()
}

// handle gives a message to whom it is for.
func (w *world) handle(p *packet) {
	switch p.kind {
	case toStorage:
		p.s.request(p)
	case toSource:
		p.s.readFor(p)
	case stream:
		p.s.stream(p.link)
	case confirmSent:
		p.s.confirm(p)
	case toRegister:
		w.registerCalled(p)
	case attemptSent:
		p.server.attempt(p)
	case feedAsked:
		p.server.subscribed(p)
	case attemptAnswered:
		p.c.answered(p)
	case feedSent:
		p.c.fed(p)
	default:
		p.t.receive(p)
	}
}

// toDisk reports whether a storage must be up to get it.
func (p *packet) toDisk() bool {
	return p.kind == toStorage || p.kind == toSource || p.kind == stream || p.kind == confirmSent
}

// lose drops a message. Whoever waits for it, or for its answer, will notice.
func (w *world) lose(p *packet) {
	switch p.kind {
	case toStorage, fromStorage, toSource, toRegister, fromRegister:
		w.push(&packet{kind: callTimer, t: p.t, s: p.s, call: p.call, out: p.out})
	case stream, appended, refused:
		p.link.breakOff()
	case attemptSent, attemptAnswered:
		p.try.later()
	case feedAsked, feedSent:
		if p.epoch == p.c.epoch {
			p.c.subscribed = false
		}
	}
}

// expire does what a timer is for.
func (w *world) expire(p *packet) {
	switch p.kind {
	case callTimer:
		p.t.gaveUp(p)
	case linkTimer:
		p.t.linkFailed(p.link, errNoAnswer)
	case retryTimer:
		if !w.calm && w.messages%4 != 0 && !p.t.ended {
			w.push(p)
			return
		}
		p.t.step(session.Retry{Storage: p.s.name})
	case reopenTimer:
		switch {
		case !p.server.tenure.ended:
		case w.messages%5 != 0 && !w.calm:
			w.push(p) // it hesitates, so that another may get on
		default:
			p.server.open()
		}
	case lostTimer:
		p.t.lostMajority()
	case switchTimer:
		if !p.t.ended {
			p.t.server.open()
		}
	case touchTimer:
		p.t.step(session.Touched{})
	case flushTimer:
		p.t.flush()
	case rebuildTimer:
		p.t.rebuild()
	case attemptTimer:
		p.try.again()
	}
}

// link is the stream of appends from a tenure to a storage: in order, until it
// breaks.
type link struct {
	t     *tenure
	s     *storage
	self  session.Replica
	queue []*appendMessage
	gone  bool // broken, or replaced by another
}

// appendMessage is an Append with the records that it brings.
type appendMessage struct {
	m     session.Append
	recs  []*rec
	first txn.ID
}

func (l *link) send(m *appendMessage) {
	l.queue = append(l.queue, m)
	l.t.w.push(&packet{kind: stream, t: l.t, s: l.s, link: l})
}

// breakOff loses what is under way on a link; its server will notice.
func (l *link) breakOff() {
	l.queue = nil
	if !l.gone {
		l.t.w.push(&packet{kind: linkTimer, t: l.t, s: l.s, link: l})
	}
}
