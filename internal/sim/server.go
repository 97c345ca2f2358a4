package sim

import (
	"errors"
	"fmt"
	"strings"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// server is a server process that wants the partition.
type server struct {
	w          *world
	index      int
	generation int64
	tenure     *tenure
	prepared   []string         // target that a session was near to
	stale      []session.Member // for a mutant
}

// tenure is one attempt of a server to open a session, and the session. It does
// what the real driver does with the leader's outputs.
type tenure struct {
	w       *world
	server  *server
	leader  *session.Leader
	version int
	base    txn.SessionID // M.session as it was read
	m       session.PartitionState
	next    session.PartitionState // what the change under way makes of M
	links   [storagesMax]*link
	own     []*rec // appended by this session
	chosen  bool
	isOpen  bool
	ended   bool
	lost    bool // a lostTimer runs
	learned txn.ID
	seq     *sequencer
	subs    [clientsMax]subscription

	installs, truncates [storagesMax]*packet // the last ones, to be repeated
}

func (s *server) letter() rune { return rune('A' + s.index) }

func join(names []string) string { return strings.Join(names, " ") }

// open begins a new attempt; what was before it is over.
func (s *server) open() {
	if s.tenure != nil {
		s.tenure.ended = true
	}
	t := &tenure{w: s.w, server: s, learned: txn.None}
	s.tenure = t
	s.w.tenures = append(s.w.tenures, t)
	leader, out := session.NewLeader(0, s.generation)
	t.leader = leader
	if s.w.keep {
		leader.Keep(s.prepared)
	}
	s.w.note("%c begins a session", int64(s.letter()))
	t.perform(out)
}

// openAnew begins an attempt if there is none, or even so.
func (s *server) openAnew(evenSo bool) {
	if s.tenure == nil || s.tenure.ended || evenSo {
		s.open()
	}
}

// step tells the leader of an event and does what follows.
func (t *tenure) step(e session.Event) {
	if t.ended {
		return
	}
	t.perform(t.leader.Step(e))
	t.settle()
}

// settle takes note of what was committed, and of who answers no more.
func (t *tenure) settle() {
	if t.ended {
		return
	}
	if t.isOpen {
		t.learn()
	}
	if alive := t.leader.Alive(); alive {
		t.lost = false
	} else if !t.lost {
		t.lost = true
		t.w.push(&packet{kind: lostTimer, t: t})
	}
}

func (t *tenure) lostMajority() {
	switch {
	case t.ended || !t.lost:
		return
	case t.w.messages%8 != 0 && !t.w.calm:
		t.w.push(&packet{kind: lostTimer, t: t}) // it hopes
		return
	}
	t.w.note("%c gives up session %d: no majority answers", int64(t.server.letter()), int64(t.leader.Session()))
	t.ended = true
	t.w.push(&packet{kind: reopenTimer, server: t.server})
}

func (t *tenure) perform(out []session.Output) {
	for _, o := range out {
		switch o := o.(type) {
		case session.LoadM:
			t.w.push(&packet{kind: toRegister, t: t, out: o, call: &call{}})
		case session.ChangeM:
			t.next = o.M
			t.w.push(&packet{kind: toRegister, t: t, out: o, call: &call{}, m: o.M, version: t.version})
		case session.SendOpen:
			t.w.learners.begin(t, o.Storage)
			t.request(o.Storage, o)
		case session.SendTruncate:
			t.choice()
			t.request(o.Storage, o)
		case session.SendCopy:
			t.choice()
			sources := t.leader.Sources(o)
			from := t.w.storage(sources[t.w.messages%7%len(sources)])
			t.w.push(&packet{kind: toSource, t: t, s: from, out: o, call: &call{source: from}})
		case session.SendInstall:
			t.choice()
			t.request(o.Storage, o)
		case session.Opened:
			t.opened(o)
		case session.Ready:
			t.ready(o)
		case session.Unfit:
			t.unfit(o)
			t.w.push(&packet{kind: retryTimer, t: t, s: t.w.storage(o.Storage)})
		case session.Switchable:
			t.switchable(o.Target)
		case session.Ended:
			t.endedBy(o.Err)
		}
	}
}

// unfit says why a replica takes no part. If that is for the operator, he resets it
// when everything is mended.
func (t *tenure) unfit(o session.Unfit) {
	w, s := t.w, t.w.storage(o.Storage)
	w.remark(func() string { return fmt.Sprintf("%c: %s cannot take part: %v", t.server.letter(), o.Storage, o.Err) })
	if !session.NeedsOperator(o.Err) || errors.Is(o.Err, session.ErrOneReplica) && w.twins {
		return
	}
	demand(w.recovered > 0 || w.disaster, "P1", "s%d cannot take part, though nothing was given up: %v", s.index+1, o.Err)
	if w.calm {
		w.note("s%d is reset", int64(s.index+1))
		s.format()
	}
}

// switchable lets the server open a session on the target.
func (t *tenure) switchable(target []string) {
	t.w.learners.Offered++
	t.w.remark(func() string { return fmt.Sprintf("%c can switch to %v", t.server.letter(), target) })
	t.server.prepared = target
	t.w.push(&packet{kind: switchTimer, t: t})
}

func (t *tenure) request(storage string, o session.Output) {
	p := &packet{kind: toStorage, t: t, s: t.w.storage(storage), out: o, call: &call{}}
	switch o.(type) {
	case session.SendTruncate:
		t.truncates[p.s.index] = p
	case session.SendInstall:
		t.installs[p.s.index] = p
	}
	t.w.push(p)
}

func (t *tenure) endedBy(err error) {
	t.w.note("%c: session %d has ended", int64(t.server.letter()), int64(t.leader.Session()))
	t.w.remark(func() string { return "   " + err.Error() })
	t.ended = true
	if session.ClaimAnew(err) {
		t.w.push(&packet{kind: reopenTimer, server: t.server})
	}
}

func (t *tenure) opened(o session.Opened) {
	t.isOpen = true
	t.w.note("%c: session %d is open, everything up to %d is committed", int64(t.server.letter()), int64(t.leader.Session()), int64(o.High))
	t.seq = newSequencer(t, o.High)
	t.w.push(&packet{kind: rebuildTimer, t: t})
}

// ready gives a replica its link, and sends it what it has missed.
func (t *tenure) ready(o session.Ready) {
	s := t.w.storage(o.Storage)
	t.unlink(s)
	if o.Last < t.leader.High() {
		panic(violation{"P1", fmt.Sprintf("s%d takes appends of session %d behind %d, which began at %d", s.index+1, t.leader.Session(), o.Last, t.leader.High())})
	}
	l := &link{t: t, s: s, self: o.Replica}
	t.links[s.index] = l
	t.w.note("%c: s%d takes appends behind %d", int64(t.server.letter()), int64(s.index+1), int64(o.Last))
	for first := o.Last + 1; first <= t.last(); first += 2 {
		t.sendTo(l, first, min(first+1, t.last()))
	}
}

// last returns where the session's log ends.
func (t *tenure) last() txn.ID { return t.leader.High() + txn.ID(len(t.own)) }

// sendTo sends records of the session; older ones are not sent this way.
func (t *tenure) sendTo(l *link, first, last txn.ID) {
	i := int(first - t.leader.High() - 1)
	recs := t.own[i : i+int(last-first)+1]
	l.send(&appendMessage{recs: recs, first: first, m: session.Append{
		Session: t.leader.Session(), Replica: l.self, PrevID: first - 1, PrevStamp: t.leader.StampAt(first - 1),
		Committed: t.leader.Committed(), Records: frameOf(recs),
	}})
}

func (t *tenure) unlink(s *storage) {
	if l := t.links[s.index]; l != nil {
		l.gone = true
		t.links[s.index] = nil
	}
}

func (t *tenure) linkFailed(l *link, err error) {
	if !l.gone {
		t.replicaFailed(l.s, err)
	}
}

// replicaFailed puts a replica aside and tries it again later.
func (t *tenure) replicaFailed(s *storage, err error) {
	if t.ended {
		return
	}
	t.unlink(s)
	t.w.note("%c: s%d failed", int64(t.server.letter()), int64(s.index+1))
	t.step(session.Failed{Storage: s.name, Err: err})
	if !t.ended {
		t.w.push(&packet{kind: retryTimer, t: t, s: s})
	}
}

// receive takes an answer. One of a storage that comes twice, or after it was
// given up, is told to the leader too: it must not mind.
func (t *tenure) receive(p *packet) {
	if t.ended {
		return
	}
	switch p.kind {
	case fromStorage:
		if p.why != nil {
			t.callFailed(p, p.why)
			return
		}
		p.call.done = true
		t.step(p.event)
	case appended:
		t.perform(t.leader.Appended(p.s.name, p.last))
		t.settle()
	case refused:
		t.linkFailed(p.link, p.why)
	case fromRegister:
		t.registerAnswered(p)
	case confirmed:
		p.round.confirmed(p)
	}
}

func (t *tenure) callFailed(p *packet, err error) {
	if p.call.done || t.ended {
		return
	}
	p.call.done = true
	if p.call.source != nil && p.s != p.call.source {
		t.replicaFailed(p.call.source, err)
	}
	t.replicaFailed(p.s, err)
}

// gaveUp ends a call whose answer does not come. A load is made again by an open
// session, and ends an attempt; a change may have taken effect.
func (t *tenure) gaveUp(p *packet) {
	if p.call.done || t.ended {
		return
	}
	switch p.out.(type) {
	case session.LoadM:
		p.call.done = true
		if t.isOpen {
			t.perform([]session.Output{session.LoadM{}})
			return
		}
		t.ended = true
		t.w.push(&packet{kind: reopenTimer, server: t.server})
	case session.ChangeM:
		p.call.done = true
		t.w.note("%c does not hear whether M was changed", int64(t.server.letter()))
		t.notChanged()
	default:
		t.callFailed(p, errNoAnswer)
	}
}

// registerCalled reads or changes M.
func (w *world) registerCalled(p *packet) {
	a := &packet{kind: fromRegister, t: p.t, call: p.call, out: p.out}
	if _, load := p.out.(session.LoadM); load {
		a.m, a.version = w.register.m.Clone(), w.register.version
	} else if w.compareAndSet(p.t, p.m, p.version) {
		a.m, a.version = p.m, w.register.version
	}
	w.push(a)
}

func (t *tenure) registerAnswered(p *packet) {
	if p.call.done {
		return
	}
	p.call.done = true
	if _, load := p.out.(session.LoadM); load {
		t.loaded(p.m, p.version)
		return
	}
	if p.version == 0 {
		t.notChanged()
		return
	}
	t.version, t.m = p.version, t.next
	t.step(session.Changed{})
}

func (t *tenure) notChanged() { t.step(session.NotChanged{}) }

func (t *tenure) loaded(m session.PartitionState, version int) {
	if mutant.On("members-of-stale-m") {
		if t.server.stale != nil {
			m.Members = t.server.stale
		}
		t.server.stale = m.Members
	}
	t.version = version
	if t.isOpen {
		t.m = m
	} else {
		t.base = m.Session
	}
	t.step(session.Loaded{M: m})
}
