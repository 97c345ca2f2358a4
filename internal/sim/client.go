package sim

import (
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

const (
	clientsMax  = 3
	locks       = 5 // lock IDs that there are
	attemptsMax = 6 // that a client has open
)

// client computes transactions from its view, which is what it was fed, and
// subscribes to whoever seems to own the partition.
type client struct {
	w          *world
	index      int
	hwm        txn.ID
	epoch      int // of its subscription
	subscribed bool
	open       []*attempt
	guess      int // server that seems to own the partition
}

// attempt is one request ID.
type attempt struct {
	c         *client
	request   txn.RequestID
	n         uint64
	locks     []txn.Lock
	hwm       txn.ID // of the view that it was computed from
	mark      txn.ID // high-water mark when it was first sent
	unsure    bool   // sent before, and perhaps taken
	waiting   bool   // an attemptTimer runs
	done      bool
	committed txn.ID // where it stands in the log
	refused   bool   // for good
	age       int    // recoveries before it
}

// sending is what goes with one sending of an attempt.
type sending struct {
	mark   txn.ID
	resent bool
}

// answer is how an append ends.
type answer struct {
	what what
	id   txn.ID // transaction, cause, floor or mark
}

type what uint8

const (
	committedAnswer what = 1 + iota
	conflictAnswer
	staleAnswer
	markTooOld
)

func (c *client) submit(b uint16) {
	if len(c.open) >= attemptsMax {
		c.open[int(b)%len(c.open)].again()
		return
	}
	c.begin(b).send()
}

// begin computes a transaction from the view as it is.
func (c *client) begin(b uint16) *attempt {
	n := c.w.number()
	try := &attempt{c: c, n: n, request: requestID(n), hwm: c.hwm, mark: c.hwm, committed: txn.None, locks: drawLocks(b), age: c.w.age}
	c.open = append(c.open, try)
	c.w.note("client %d appends request %d, high-water mark %d", int64(c.index+1), int64(n), int64(c.hwm))
	return try
}

// drawLocks makes none to two locks of a number.
func drawLocks(b uint16) []txn.Lock {
	modes := [...]txn.LockMode{txn.LockWrite, txn.LockWrite, txn.LockRead, txn.LockAppend}
	var drawn []txn.Lock
	for range b % 4 % 3 {
		b /= 4
		drawn = append(drawn, txn.Lock{Hash: txn.LockHash(b%locks) + 1, Mode: modes[b/8%4]})
		b /= 8
	}
	return drawn
}

func (a *attempt) send() {
	w := a.c.w
	server := w.servers[a.c.guess%len(w.servers)]
	w.push(&packet{kind: attemptSent, server: server, c: a.c, try: a, sent: sending{mark: a.mark, resent: a.unsure}})
}

// later sends again after a while.
func (a *attempt) later() {
	if a.waiting || a.done {
		return
	}
	a.waiting = true
	a.c.w.push(&packet{kind: attemptTimer, c: a.c, try: a})
}

func (a *attempt) again() {
	a.waiting = false
	if a.done {
		return
	}
	a.unsure = true
	a.c.guess++
	a.send()
}

// answered takes a server's answer.
func (c *client) answered(p *packet) {
	a := p.try
	if a.done {
		return
	}
	if p.t.void() {
		a.later()
		return
	}
	c.guess = p.t.server.index
	if p.answer.what == markTooOld {
		if !a.unsure {
			a.mark = max(a.mark, p.answer.id)
		}
		a.send()
		return
	}
	a.done = true
	for i, other := range c.open {
		if other == a {
			c.open = append(c.open[:i], c.open[i+1:]...)
			break
		}
	}
}

// subscription is what a tenure feeds to a client: one message at a time is
// under way.
type subscription struct {
	epoch  int // 0: none
	next   txn.ID
	moving bool
}

// subscribe asks a server for everything after the client's high-water mark.
func (c *client) subscribe(server int) {
	c.epoch++
	c.subscribed = true
	c.w.push(&packet{kind: feedAsked, server: c.w.servers[server%len(c.w.servers)], c: c, epoch: c.epoch, last: session.Appended{Last: c.hwm}})
}

func (s *server) subscribed(p *packet) {
	t := s.tenure
	if t == nil || t.ended || !t.isOpen || t.void() {
		if p.epoch == p.c.epoch {
			p.c.subscribed = false
		}
		return
	}
	t.subs[p.c.index] = subscription{epoch: p.epoch, next: p.last.Last + 1}
	t.feed(p.c, t.leader.Committed())
}

func (t *tenure) feedAll(committed txn.ID) {
	for _, c := range t.w.clients {
		t.feed(c, committed)
	}
}

// feed sends a client the next records up to committed (I6).
func (t *tenure) feed(c *client, committed txn.ID) {
	sub := &t.subs[c.index]
	if sub.epoch == 0 || sub.moving || sub.next > committed {
		return
	}
	last := min(sub.next+4, committed)
	if high := t.leader.High(); sub.next <= high {
		last = min(last, high)
	}
	recs, ok := t.read(sub.next, last)
	if !ok {
		return
	}
	t.w.checkFed(t, recs)
	sub.next, sub.moving = last+1, true
	t.w.push(&packet{kind: feedSent, t: t, c: c, epoch: sub.epoch, recs: recs})
}

// fed takes the next records: what follows, and nothing else (I6).
func (c *client) fed(p *packet) {
	if sub := &p.t.subs[c.index]; sub.epoch == p.epoch {
		sub.moving = false
	}
	if p.epoch != c.epoch || p.t.void() {
		return
	}
	for _, r := range p.recs {
		c.w.checkReceived(c, r)
		c.hwm = r.id
	}
	if !p.t.ended {
		p.t.feed(c, p.t.leader.Committed())
	}
}
