package sim

import (
	"fmt"
	"math"
	"strconv"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// storage is a storage as the cluster knows it: a name, and the process that it
// leads to. Two names may lead to one, by mistake.
type storage struct {
	w     *world
	index int
	name  string
	*process
}

// process is a storage process with its replica: what it holds for true, what is
// on its disk, and between them the journal's entries that were written and not
// synced. Answers wait until every entry before them is on the disk.
type process struct {
	bit     uint16 // for sets of them
	up      bool
	mem     image
	disk    image
	journal []entry
	waiting []reply
	backup  *image
	fence   txn.SessionID // highest promise that was answered, as long as the disk is this one
	copied  txn.ID        // from here on the log was copied in the session that was promised last
}

// image is the durable state of a replica.
type image struct {
	state session.ReplicaState
	log   []*rec
}

// entry is one change of a replica.
type entry struct {
	promise, install txn.SessionID // if not 0
	truncate         bool          // to last
	last             txn.ID
	recs             []*rec
	frame            record.Frame
	committed        txn.ID
}

// reply is an answer that waits until so many entries are on the disk.
type reply struct {
	entries int
	p       *packet
}

func newStorage(w *world, i int) *storage {
	s := &storage{w: w, index: i, name: "s" + strconv.Itoa(i+1), process: &process{bit: 1 << i, up: true}}
	s.format()
	return s
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

// format begins with an empty disk.
func (s *storage) format() {
	state := session.NewReplicaState(0, session.Replica{Incarnation: session.Incarnation(s.w.number())})
	s.disk = image{state: *state}
	s.journal, s.fence, s.backup, s.copied = nil, 0, nil, math.MaxInt64
	s.restart()
}

// restart begins with what is on the disk. Calls that waited get no answer.
func (s *storage) restart() {
	for _, r := range s.waiting {
		s.w.lose(r.p)
	}
	s.journal, s.waiting = s.journal[:0], s.waiting[:0]
	s.disk.state.Self.Start = session.Start(s.w.number())
	s.mem = image{state: s.disk.state, log: append(s.mem.log[:0], s.disk.log...)}
	s.mem.state.Map = s.disk.state.Map.Clone()
	s.w.checkRestarted(s)
}

// clone returns a copy that shares nothing but records.
func (i *image) clone() *image {
	c := &image{state: i.state, log: append([]*rec(nil), i.log...)}
	c.state.Map = i.state.Map.Clone()
	return c
}

func (i *image) apply(e *entry) {
	switch {
	case e.promise != 0:
		i.state.ApplyPromise(e.promise)
	case e.install != 0:
		i.state.ApplyInstall(e.install)
	case e.truncate:
		i.state.ApplyTruncate(e.last)
		i.log = i.log[:e.last+1]
	case e.recs != nil:
		last := e.recs[len(e.recs)-1]
		i.state.ApplyRecords(e.frame, record.Span{First: e.recs[0].id, Last: last.id, LastStamp: last.stamp})
		i.log = append(i.log, e.recs...)
	}
	i.state.ApplyCommitted(e.committed)
}

// write changes the replica and puts the change behind the journal.
func (s *storage) write(e entry) {
	s.mem.apply(&e)
	s.journal = append(s.journal, e)
}

// reach puts the first n entries of the journal on the disk.
func (s *storage) reach(n int) {
	for i := range s.journal[:n] {
		e := &s.journal[i]
		s.disk.apply(e)
		for _, r := range e.recs {
			r.durable |= s.bit
		}
	}
	left := copy(s.journal, s.journal[n:])
	clear(s.journal[left:])
	s.journal = s.journal[:left]
}

// sync makes the journal durable, all of it or all but the newest, and sends the
// answers that waited for that.
func (s *storage) sync(b uint16) {
	n := len(s.journal)
	if !s.up && (b%16 == 0 || s.w.calm) {
		s.up = true
		s.w.remark(func() string { return s.name + " is up again" })
	}
	if n == 0 || !s.up {
		return
	}
	if b%4 == 0 {
		n -= int(b>>2) % n
	}
	s.w.note("s%d syncs %d of %d", int64(s.index+1), int64(n), int64(len(s.journal)))
	s.reach(n)
	kept := s.waiting[:0]
	for _, r := range s.waiting {
		if r.entries -= n; r.entries > 0 {
			kept = append(kept, r)
			continue
		}
		s.send(r.p)
	}
	clear(s.waiting[len(kept):])
	s.waiting = kept
}

// crash ends the process. What was not synced is lost, but for the first few
// entries that happened to be written.
func (s *storage) crash(b uint16) {
	s.w.learners.disturb(s)
	n := 0
	if len(s.journal) > 0 && b%3 == 0 {
		n = int(b/3) % (len(s.journal) + 1)
	}
	s.w.note("s%d crashes: %d of %d unsynced entries survive", int64(s.index+1), int64(n), int64(len(s.journal)))
	s.reach(n)
	s.restart()
	s.up = b%2 == 0
}

// reply answers when everything so far is on the disk.
func (s *storage) reply(p *packet) {
	if len(s.journal) == 0 {
		s.send(p)
		return
	}
	s.waiting = append(s.waiting, reply{entries: len(s.journal), p: p})
}

func (s *storage) send(p *packet) {
	if e, ok := p.event.(session.Promised); ok {
		s.fence = max(s.fence, e.Promise.Promised)
	}
	s.w.newest, s.w.newestBy = s, p.t.server
	s.w.push(p)
}

// request takes a message other than an append.
func (s *storage) request(p *packet) {
	event, err := s.handle(p)
	if err != nil {
		s.w.remark(func() string { return fmt.Sprintf("%c → %s: %v", p.t.server.letter(), s.name, err) })
		s.w.push(&packet{kind: fromStorage, t: p.t, s: s, call: p.call, why: err})
		return
	}
	a := &packet{kind: fromStorage, t: p.t, s: s, call: p.call, event: event}
	if _, promise := event.(session.Promised); promise && mutant.On("promise-not-synced") {
		s.send(a)
		return
	}
	s.reply(a)
}

func (s *storage) handle(p *packet) (session.Event, error) {
	state := &s.mem.state
	from, at := int64(p.t.server.letter()), int64(s.index+1)
	switch o := p.out.(type) {
	case session.SendOpen:
		write, err := state.CheckOpen(o.Message)
		if err != nil {
			return nil, err
		}
		if write {
			s.write(entry{promise: o.Message.Session, committed: txn.None})
			s.copied = math.MaxInt64
		}
		promise := state.Promise()
		s.w.note("%c → s%d: open %d: promised, installed %d, last %d", from, at, int64(o.Message.Session), int64(promise.Installed), int64(promise.Last))
		return session.Promised{Storage: s.name, Promise: promise}, nil
	case session.SendTruncate:
		write, err := state.CheckTruncate(o.Message)
		if err != nil {
			return nil, err
		}
		if write {
			s.w.note("%c → s%d: truncate %d from %d to %d", from, at, int64(o.Message.Session), int64(state.Last), int64(o.Message.Last))
			s.w.checkTruncate(p.t, s, o.Message.Last)
			s.write(entry{truncate: true, last: o.Message.Last, committed: txn.None})
		}
		return session.Truncated{Storage: s.name, Replica: o.Message.Replica}, nil
	case session.SendCopy:
		last := p.recs[len(p.recs)-1]
		span := record.Span{First: p.recs[0].id, Last: last.id, LastStamp: last.stamp, Records: len(p.recs)}
		write, err := state.CheckCopy(&o.Message, span)
		if err != nil {
			return nil, err
		}
		s.w.note("%c → s%d: copy %d: %d to %d", from, at, int64(o.Message.Session), int64(span.First), int64(span.Last))
		if write {
			s.w.checkRecords(s, p.recs)
			s.copied = min(s.copied, span.First)
			s.write(entry{recs: p.recs, frame: o.Message.Records, committed: txn.None})
		}
		return session.Copied{Storage: s.name, Replica: o.Message.Replica, Last: span.Last}, nil
	case session.SendInstall:
		write, err := state.CheckInstall(o.Message)
		if err != nil {
			return nil, err
		}
		s.w.note("%c → s%d: install %d at %d", from, at, int64(o.Message.Session), int64(o.Message.Last))
		if write {
			s.write(entry{install: o.Message.Session, committed: txn.None})
		}
		return session.Installed{Storage: s.name, Replica: o.Message.Replica}, nil
	}
	panic("not a message to a storage")
}

// readFor reads what is to be copied, and sends it on.
func (s *storage) readFor(p *packet) {
	o := p.out.(session.SendCopy)
	to := s.w.storage(o.Storage)
	if txn.ID(len(s.mem.log)) <= o.First {
		s.w.push(&packet{kind: fromStorage, t: p.t, s: to, call: p.call, why: errMissing})
		return
	}
	last := min(o.Last, o.First+3, txn.ID(len(s.mem.log))-1)
	recs := append([]*rec(nil), s.mem.log[o.First:last+1]...)
	if !p.t.leader.Agrees(last, s.mem.log[last].stamp) { // the server looks before it sends them on
		s.w.push(&packet{kind: fromStorage, t: p.t, s: to, call: p.call, why: errMissing})
		return
	}
	o.Message.Records = frameOf(recs)
	s.w.push(&packet{kind: toStorage, t: p.t, s: to, call: p.call, out: o, recs: recs})
}

func frameOf(recs []*rec) record.Frame {
	if len(recs) == 1 {
		return recs[0].frame
	}
	var f record.Frame
	for _, r := range recs {
		f = append(f, r.frame...)
	}
	return f
}

// stream takes the next append of a link.
func (s *storage) stream(l *link) {
	if len(l.queue) == 0 {
		return // the link broke meanwhile
	}
	a := l.queue[0]
	l.queue = l.queue[1:]
	s.append(l, a)
}

func (s *storage) append(l *link, a *appendMessage) {
	last := a.recs[len(a.recs)-1]
	span := record.Span{First: a.first, Last: last.id, LastStamp: last.stamp, Records: len(a.recs)}
	write, err := s.mem.state.CheckAppend(&a.m, span)
	if err != nil {
		s.w.remark(func() string { return fmt.Sprintf("%c → %s: %v", l.t.server.letter(), s.name, err) })
		s.w.push(&packet{kind: refused, t: l.t, s: s, link: l, why: err})
		return
	}
	s.w.note("%c → s%d: append %d: %d to %d", int64(l.t.server.letter()), int64(s.index+1), int64(a.m.Session), int64(span.First), int64(span.Last))
	s.w.checkFence(s, a.m.Session)
	if write {
		s.w.checkRecords(s, a.recs)
		s.write(entry{recs: a.recs, frame: a.m.Records, committed: a.m.Committed})
		s.w.checkCommitted(l.t, s)
	}
	p := &packet{kind: appended, t: l.t, s: s, link: l, last: session.Appended{Replica: s.mem.state.Self, Last: s.mem.state.Last}}
	if mutant.On("ack-before-fsync") {
		s.send(p)
		return
	}
	s.reply(p)
}

// confirm says whether no higher session was promised.
func (s *storage) confirm(p *packet) {
	m := session.Confirm{Session: p.t.leader.Session(), Replica: p.link.self}
	s.w.push(&packet{kind: confirmed, t: p.t, s: s, link: p.link, round: p.round, why: s.mem.state.CheckConfirm(m)})
}
