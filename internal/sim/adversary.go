package sim

import (
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// The faults of this file are several in a row, where they hurt most: what chance
// alone would bring about once in millions of schedules.

// strand leaves one storage with records that no other has: the server's other
// streams break, that storage takes and syncs what was meant for all, and the
// server crashes. The storage is cut off, and most often another server takes over
// without it and appends records of its own.
func (w *world) strand(a action) bool {
	t := w.servers[int(a.a)%len(w.servers)].tenure
	if t == nil || t.ended || !t.isOpen || !t.seq.serving {
		return false
	}
	only := t.links[int(a.b>>4)%len(w.storages)]
	if only == nil || !only.s.up {
		return false
	}
	for _, l := range t.links {
		if l != nil && l != only {
			l.queue = nil
			t.unlink(l.s)
		}
	}
	t.appendSome(1+int(a.b>>8)%6, a.a)
	for range only.queue {
		only.s.stream(only)
	}
	w.note("s%d is stranded, %c crashes", int64(only.s.index+1), int64(t.server.letter()))
	only.s.sync(1)
	if a.b&0x80 != 0 {
		only.s.backup = only.s.disk.clone() // of a tail that will most often be cut
	}
	t.ended = true
	w.push(&packet{kind: reopenTimer, server: t.server})
	for i := range w.cut {
		w.cut[i][only.s.index] = true
	}
	if a.b&3 != 0 {
		w.takeOver(w.servers[(t.server.index+int(a.b>>2)&1)%len(w.servers)], int(a.b>>11)%6)
	}
	return true
}

// appendSome has a session append some records of its clients at once.
func (t *tenure) appendSome(n int, b uint16) {
	if t.ended || !t.isOpen || !t.seq.serving {
		return
	}
	for i := range n {
		if c := t.w.clients[i%len(t.w.clients)]; len(c.open) < attemptsMax && t.seq.room() {
			try := c.begin(b + uint16(i))
			t.seq.attempt(try, sending{mark: try.mark}, txn.None)
			try.later()
			t.flush()
		}
	}
}

// takeOver has a server open a session with those storages that can be reached,
// while everything goes its way, and append some records.
func (w *world) takeOver(s *server, n int) {
	s.open()
	t := s.tenure
	for range 12 * len(w.storages) {
		if t.ended || len(w.flight) == 0 || t.isOpen && t.seq.serving {
			break
		}
		w.deliver(w.take(0))
		for _, s := range w.storages {
			if s.up {
				s.sync(1)
			}
		}
	}
	if !t.ended && t.isOpen && t.seq.serving {
		t.appendSome(n, uint16(n))
	}
}

// serving picks a server's session that is open, and a storage that takes its
// appends; nil if there is none.
func (w *world) serving(a action) (*tenure, *link) {
	t := w.servers[int(a.a)%len(w.servers)].tenure
	if t == nil || t.ended || !t.isOpen || !t.seq.serving {
		return nil, nil
	}
	return t, t.links[int(a.b>>4)%len(w.storages)]
}

// relapse puts a member's disk back while its answers are under way, and lets
// them, and an old Install, arrive when it takes part again (rule 3).
func (w *world) relapse(a action) bool {
	t, l := w.serving(a)
	if l == nil || !l.s.up || l.s.backup == nil || w.needed(l.s) {
		return false
	}
	t.appendSome(1+int(a.b)%3, a.b)
	for range l.queue {
		l.s.stream(l)
	}
	l.s.sync(1)
	held := w.hold(func(p *packet) bool { return p.kind == appended && p.link == l })
	if !l.s.restore() {
		return false
	}
	for _, end := range []txn.ID{l.s.disk.state.Last, t.leader.High()} { // somebody reads before the server notices
		if end >= 0 && end <= t.leader.High() {
			t.read(max(0, end-3), end)
		}
	}
	l.breakOff()
	for range 40 {
		if t.ended || t.leader.Counts(l.s.name, l.s.disk.state.Self) || !w.deliverFirst(func(p *packet) bool { return p.t == t && p.kind != stream && p.kind != appended }) {
			break
		}
		l.s.sync(1)
		if old := t.installs[l.s.index]; old != nil && a.b&1 == 0 && l.s.mem.state.Promised == t.leader.Session() {
			again := *old
			l.s.request(&again)
			l.s.sync(1)
		}
	}
	for _, p := range held {
		w.deliver(p)
	}
	return true
}

// echo lets a Truncate arrive once more, most often right before an Install.
func (w *world) echo(a action) bool {
	for i := range w.flight {
		p := w.flight[(i+int(a.a))%len(w.flight)]
		if p.kind == toStorage && p.s.up && p.t.truncates[p.s.index] != nil {
			again := *p.t.truncates[p.s.index]
			w.note("a truncation comes again")
			p.s.request(&again)
			return true
		}
	}
	t, l := w.serving(a)
	if l == nil || !l.s.up || t.truncates[l.s.index] == nil {
		return false
	}
	again := *t.truncates[l.s.index]
	w.note("a truncation comes again")
	l.s.request(&again)
	return true
}

// ghost has another server take over unseen: the old one reaches one storage
// still, and another one that is wiped; it must not take their word for that of
// a majority.
func (w *world) ghost(a action) bool {
	t, l := w.serving(a)
	if l == nil || len(w.servers) == 1 || !l.s.up {
		return false
	}
	next := w.servers[(t.server.index+1)%len(w.servers)]
	next.generation = max(next.generation, t.server.generation)
	w.cut[next.index][l.s.index] = true
	for i := range w.storages {
		w.cut[t.server.index][i] = i != l.s.index
	}
	w.cut[t.server.index][storagesMax] = true
	w.takeOver(next, 2)
	for range 40 {
		if !w.deliverFirst(func(p *packet) bool { return p.t == next.tenure }) {
			break
		}
		for _, s := range w.storages {
			s.sync(1)
		}
	}
	lost := w.storages[int(a.b>>8)%len(w.storages)]
	if lost == l.s || !lost.wipe() || t.ended {
		return true
	}
	w.cut[t.server.index][lost.index] = false
	t.replicaFailed(lost, errNoAnswer)
	t.step(session.Retry{Storage: lost.name})
	ours := func(p *packet) bool { return p.t == t && p.kind != lostTimer && p.kind != retryTimer }
	for range 40 {
		if t.ended || t.links[lost.index] != nil || !w.deliverFirst(ours) {
			break
		}
		lost.sync(1)
	}
	t.server.confirm()
	for w.deliverFirst(func(p *packet) bool { return p.t == t && (p.kind == confirmSent || p.kind == confirmed) }) {
		continue
	}
	return true
}

// hold takes packets out of the network.
func (w *world) hold(which func(*packet) bool) []*packet {
	var held []*packet
	for i := 0; i < len(w.flight); {
		if which(w.flight[i]) {
			held = append(held, w.take(i))
			continue
		}
		i++
	}
	return held
}

// deliverFirst lets the oldest packet of some arrive; false if there is none.
func (w *world) deliverFirst(which func(*packet) bool) bool {
	for i, p := range w.flight {
		if which(p) {
			w.deliver(w.take(i))
			return true
		}
	}
	return false
}
