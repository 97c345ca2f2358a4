package sim

import (
	"fmt"
	"math"
	"slices"

	"github.com/waltz-log/waltz/internal/session"
)

// fault breaks something, if it can be broken now.
func (w *world) fault(a action) bool {
	switch a.op {
	case opCrash:
		w.victim(a).crash(a.b >> 1)
	case opWipe:
		return w.victim(a).wipe()
	case opBackup:
		for i, s := range w.storages {
			if a.a>>i&1 == 1 {
				s.backup = s.disk.clone()
				w.note("s%d is backed up", int64(s.index+1))
			}
		}
		return false
	case opRestore:
		return w.restore(a)
	case opLose:
		return w.loseSome(a)
	case opRepeat:
		return w.repeat(a)
	case opTimeout:
		return w.timeout(a)
	case opSplit:
		return w.split(a)
	case opMend:
		clear(w.cut[:])
		w.slow = 0
		for _, s := range w.storages {
			s.up = true
		}
		w.note("the network is whole, and all storages are up")
		return false
	case opSlow:
		w.slow = a.a & a.b & (1<<(storagesMax+serversMax) - 1)
		w.note("slow are %b", int64(w.slow))
		return w.slow != 0
	case opBreak:
		return w.breakLink(a)
	case opTarget:
		return w.setTarget(w.drawTarget(a.a, a.b))
	case opServerCrash:
		return w.crashServer(a)
	case opAssign:
		return w.assign(a)
	case opStrand:
		return w.strand(a)
	case opRelapse:
		return w.relapse(a)
	case opEcho:
		return w.echo(a)
	case opGhost:
		return w.ghost(a)
	case opLearner:
		return w.learner(a)
	case opRecover:
		return w.forceRecover(a)
	}
	return true
}

// victim picks a storage: often the one that answered last.
func (w *world) victim(a action) *storage {
	if a.b&1 == 0 && w.newest != nil {
		return w.newest
	}
	return w.storages[int(a.a)%len(w.storages)]
}

// needed reports whether a disk must not be lost, or no session might ever open
// again.
func (w *world) needed(s *storage) bool {
	m := w.register.m
	if w.reckless || w.disaster {
		return false
	}
	if len(m.Members) == 0 {
		return s.mem.state.Installed > 0 // M may be about to name it
	}
	return w.survivors(s) < len(m.Members)/2+1
}

// wipe replaces a disk by an empty one. Unless the schedule is reckless, a
// majority of members keeps its log.
func (s *storage) wipe() bool {
	if s.w.needed(s) {
		return false
	}
	s.w.learners.disturb(s)
	s.w.note("s%d is wiped", int64(s.index+1))
	s.format()
	return true
}

// restore puts an older copy of the disk back. It must be behind what M says the
// replica installed, so that it can be told; if it is not, the operator says so,
// and it gets another incarnation. Not so in a disaster.
func (s *storage) restore() bool {
	if s.backup == nil || s.w.needed(s) {
		return false
	}
	s.w.learners.disturb(s)
	old := s.backup.clone()
	unseen := func(m session.Member) bool {
		return s.w.storage(m.Storage).process == s.process && m.Incarnation == old.state.Self.Incarnation && old.state.Installed >= m.Installed
	}
	if !s.w.disaster && slices.ContainsFunc(s.w.register.m.Members, unseen) {
		s.w.note("s%d is reset", int64(s.index+1))
		s.format()
		return true
	}
	s.w.note("s%d is put back to an older disk, installed %d, last %d", int64(s.index+1), int64(old.state.Installed), int64(old.state.Last))
	s.disk, s.journal, s.fence, s.copied = *old, nil, 0, math.MaxInt64
	s.restart()
	return true
}

// restore puts one disk back, in a disaster several.
func (w *world) restore(a action) bool {
	if !w.disaster {
		return w.storages[int(a.a)%len(w.storages)].restore()
	}
	some := false
	for i, s := range w.storages {
		some = a.a>>i&1 == 1 && s.restore() || some
	}
	return some
}

// loseSome drops a message: often the newest.
func (w *world) loseSome(a action) bool {
	n := len(w.flight)
	if n == 0 {
		return false
	}
	i := int(a.a) % n
	if a.b&1 == 0 {
		i = n - 1
	}
	if !w.flight[i].isMessage() {
		return false
	}
	p := w.take(i)
	w.note("a message of kind %d is lost", int64(p.kind))
	w.lose(p)
	return true
}

// repeat lets a message arrive again.
func (w *world) repeat(a action) bool {
	p := w.past[int(a.a)%len(w.past)]
	if p == nil {
		return false
	}
	switch p.kind {
	case toStorage, fromStorage, appended, attemptSent:
		again := *p
		w.push(&again)
		w.note("a message of kind %d is repeated", int64(p.kind))
		return true
	}
	return false
}

// timeout gives up a call whose request or answer is under way still.
func (w *world) timeout(a action) bool {
	n := len(w.flight)
	for i := range n {
		p := w.flight[(int(a.a)+i)%n]
		if p.call != nil && p.isMessage() && !p.call.done {
			w.note("a call of kind %d times out", int64(p.kind))
			w.push(&packet{kind: callTimer, t: p.t, s: p.s, call: p.call, out: p.out})
			return true
		}
	}
	return false
}

// split cuts the network: some storages off a server, all but one off a server,
// or one off everybody.
func (w *world) split(a action) bool {
	server, only := int(a.a)%(len(w.servers)+1), int(a.b>>2)%len(w.storages)
	switch a.b & 3 {
	case 0:
		for i := range w.cut[server] {
			w.cut[server][i] = a.a>>(i+2)&1 == 1 && a.b>>(i+2)&1 == 1
		}
	case 1:
		for i := range w.cut[server] {
			w.cut[server][i] = i != only
		}
		if a.a&0x80 != 0 {
			w.servers[(server+1)%len(w.servers)].openAnew(false)
		}
	case 2:
		w.cut[server][storagesMax] = true // off the metadata, and the clients
	default:
		for i := range w.cut {
			w.cut[i][only] = true
		}
	}
	w.remark(func() string { return fmt.Sprintf("the network is split: %v", w.cut) })
	return true
}

func (w *world) breakLink(a action) bool {
	t := w.servers[int(a.a)%len(w.servers)].tenure
	if t == nil {
		return false
	}
	for i := range t.links {
		if l := t.links[(int(a.b)+i)%len(t.links)]; l != nil {
			w.note("the stream from %c to s%d breaks", int64(t.server.letter()), int64(l.s.index+1))
			if a.a&0x100 == 0 {
				l.queue = nil // else what is under way still arrives
			}
			w.push(&packet{kind: linkTimer, t: t, s: l.s, link: l})
			return true
		}
	}
	return false
}

func (w *world) crashServer(a action) bool {
	s := w.servers[int(a.a)%len(w.servers)]
	if s.tenure == nil || s.tenure.ended {
		return false
	}
	w.note("%c crashes", int64(s.letter()))
	s.tenure.ended = true
	if a.b&1 == 0 {
		s.prepared = nil // else another process knew it too
	}
	w.push(&packet{kind: reopenTimer, server: s})
	return true
}

// assign gives the partition to a server, which begins at once.
func (w *world) assign(a action) bool {
	s := w.servers[int(a.a)%len(w.servers)]
	w.generation++
	s.generation = w.generation
	w.note("%c is assigned the partition, generation %d", int64(s.letter()), s.generation)
	s.open()
	return true
}
