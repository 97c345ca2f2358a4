package sim

import (
	"slices"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// heal mends everything, leaves one server, and demands progress (P5): a session
// opens within a bounded number of messages, every attempt ends, every replica
// of the session and every subscriber holds the whole log. If too many disks were
// lost for that, no session may open.
func (w *world) heal() {
	w.note("everything is mended")
	w.calm, w.slow = true, 0
	clear(w.cut[:])
	for _, s := range w.storages {
		s.sync(1)
	}
	w.finishRivals()
	if w.disaster {
		return
	}
	if w.twins {
		w.tellApart()
	}
	last := w.owner()
	m := w.register.m
	if w.forced && len(m.Members) > 0 && w.survivors(nil) < len(m.Members)/2+1 && w.forceRecover(action{a: 5, b: 1}) {
		m = w.register.m
	}
	if w.recovered > 0 {
		w.setTarget(w.drawTarget(w.target>>2, w.target)) // among them storages that were given up
	}
	able := len(m.Members) == 0 || w.survivors(nil) >= len(m.Members)/2+1
	before := w.messages
	for range attemptsToOpen {
		last.open()
		w.run(func() bool { return last.tenure.isOpen })
		if last.tenure.isOpen {
			break
		}
	}
	t := last.tenure
	switch {
	case !able:
		w.closed = true
		demand(!t.isOpen, "P1", "session %d opens, though most members have lost their log", t.leader.Session())
		return
	case !t.isOpen:
		demand(false, "P5", "no session opens in a healthy cluster")
	}
	bound := 60*len(w.storages) + 8*len(w.storages)*(len(w.written)+1)
	demand(w.messages-before <= bound, "P5", "%d messages until a session opened", w.messages-before)
	w.progress(t)
}

const attemptsToOpen = 3

// tellApart gives the name that led to another storage's process one of its own.
func (w *world) tellApart() {
	s := w.storages[len(w.storages)-1]
	w.note("s%d is another storage from now on", int64(s.index+1))
	s.process = &process{bit: 1 << s.index, up: true}
	s.format()
}

// finishRivals lets what is under way arrive, while no server begins anew.
func (w *world) finishRivals() {
	for _, s := range w.servers {
		if s.tenure != nil && w.messages%2 == 0 {
			s.tenure.ended = true
		}
	}
	for n := len(w.flight); n > 0 && len(w.flight) > 0; n-- {
		if p := w.take(0); p.kind != reopenTimer {
			w.deliver(p)
		}
	}
	for _, s := range w.servers {
		if s.tenure != nil {
			s.tenure.ended = true
		}
	}
	for len(w.flight) > 0 {
		if p := w.take(0); p.isMessage() && p.try == nil {
			w.deliver(p)
		}
	}
	for _, s := range w.storages {
		s.sync(1)
	}
}

// owner returns the server that the partition is assigned to.
func (w *world) owner() *server {
	return slices.MaxFunc(w.servers, func(a, b *server) int { return int(a.generation - b.generation) })
}

// run lets everything arrive in order, disks sync at once, until something is
// done, nothing is under way, or it takes too long.
func (w *world) run(done func() bool) {
	for range runMax {
		if len(w.flight) == 0 || done() {
			return
		}
		w.deliver(w.take(0))
		for _, s := range w.storages {
			s.sync(1)
		}
	}
}

const runMax = 20000

// progress demands that a session serves everybody.
func (w *world) progress(t *tenure) {
	demand(t.leader.High() >= w.committed(), "P1", "session %d ends at %d, %d was committed", t.leader.Session(), t.leader.High(), w.committed())
	never := func() bool { return false }
	for range 2 {
		for _, c := range w.clients {
			c.guess = t.server.index
			c.resendAll()
			c.subscribe(t.server.index)
			c.submit(uint16(w.number()))
		}
		w.run(never)
		t = t.server.tenure // another, if newcomers were prepared
		demand(t.isOpen && !t.ended, "P5", "session %d is not open in a healthy cluster", t.leader.Session())
	}
	end := t.leader.Committed()
	demand(end == w.committed() && end == t.last(), "P5", "%d of %d is committed", end, t.last())
	for _, c := range w.clients {
		demand(len(c.open) == 0, "P5", "client %d waits for %d answers", c.index+1, len(c.open))
		demand(c.hwm == end, "I6", "client %d was fed up to %d of %d", c.index+1, c.hwm, end)
	}
	for _, name := range w.register.m.Target {
		w.storage(name).converged(t.leader.Session(), end)
	}
}

func (c *client) resendAll() {
	for _, a := range slices.Clone(c.open) {
		a.unsure, a.waiting = true, false
		a.send()
	}
}

// converged demands that a replica holds what all others do, byte for byte (I2).
func (s *storage) converged(id txn.SessionID, end txn.ID) {
	d := &s.disk
	demand(d.state.Installed == id && d.state.Last == end, "P5", "s%d has installed %d and ends at %d: want %d, %d", s.index+1, d.state.Installed, d.state.Last, id, end)
	demand(end < 0 || d.log[end] == s.w.truth[end], "I2", "s%d holds another record %d", s.index+1, end)
	m, ok := s.w.register.m.Member(s.name)
	demand(ok && m == session.Member{Storage: s.name, Incarnation: d.state.Self.Incarnation, Installed: id}, "P5", "M remembers s%d as %v", s.index+1, m)
}
