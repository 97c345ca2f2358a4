package sim

import (
	"fmt"

	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// forceRecover gives up a majority of members, as internal/admin does for an operator
// who says of those that are silent that they are lost, and keeps the fullest log of
// the others, or the one that the operator names. Half of the time that was the truth and their disks are destroyed; if
// not they come back one day, with records that were given up.
//
// What is demanded then: nothing is gone but what the report admits, and from there
// on everything holds anew. What older sessions do still is admitted too.
func (w *world) forceRecover(a action) bool {
	before := w.register.m.Clone()
	silent := a.a & (a.b >> 1)
	if a.b&2 != 0 {
		silent = a.a | a.b>>1
	}
	if len(before.Members) == 0 || w.answering(before, silent) {
		return false
	}
	able := w.candidates(before, silent)
	if len(able) == 0 {
		return false
	}
	kept := able[0]
	for _, s := range able {
		if s.disk.state.Promise().Fuller(kept.disk.state.Promise()) {
			kept = s
		}
	}
	if a.b&12 == 12 { // the operator knows better
		kept, able = able[int(a.b>>4)%len(able)], nil
	}
	if a.b&1 == 0 {
		w.destroy(before, silent)
	}
	d := &kept.disk.state
	member := session.Member{Storage: kept.name, Incarnation: d.Self.Incarnation, Installed: d.Installed}
	m := before.Recover(member, session.Recovery{Last: d.Last, LastStamp: d.LastStamp})
	w.note("the operator recovers from s%d, which ends at %d, installed %d, by claiming %d", int64(kept.index+1), int64(d.Last), int64(d.Installed), int64(m.Session))
	agreed := w.agreement(kept)
	w.checkRecovery(before, kept, able, agreed)
	w.checkRegister(&m)
	w.register.m, w.recovered = m, m.Session
	w.register.version++
	w.giveUpAbove(agreed)
	w.touch()
	if a.a&3 == 0 {
		w.setTarget(w.drawTarget(a.a>>2, a.b)) // back to several, also such as come back
	}
	if a.a&4 == 0 {
		w.takeOver(w.servers[int(a.b>>3)%len(w.servers)], int(a.b>>8)%6)
	}
	return true
}

// answering reports whether a majority of members that count is not silent: then
// a server can open a session, and nothing is given up.
func (w *world) answering(m session.PartitionState, silent uint16) bool {
	n := 0
	for _, one := range m.Members {
		if w.eligible(one) && silent>>w.storage(one.Storage).index&1 == 0 {
			n++
		}
	}
	return quorum.Reached(n, len(m.Members))
}

// candidates returns the storages that answer and have records. Newcomers are
// among them.
func (w *world) candidates(m session.PartitionState, silent uint16) (all []*storage) {
	for _, name := range m.Replicas() {
		if s := w.storage(name); silent>>s.index&1 == 0 && s.disk.state.Last > txn.None {
			all = append(all, s)
		}
	}
	return all
}

func (w *world) destroy(m session.PartitionState, silent uint16) {
	for _, one := range m.Members {
		if s := w.storage(one.Storage); silent>>s.index&1 == 1 {
			w.note("s%d is lost", int64(s.index+1))
			s.format()
		}
	}
}

// agreement returns up to where a disk holds what was committed.
func (w *world) agreement(s *storage) txn.ID {
	end := min(s.disk.state.Last, w.committed())
	for end >= 0 && s.disk.log[end] != w.truth[end] {
		end--
	}
	return end
}

// checkRecovery: a forced recovery loses what it says. If the log that is kept
// reaches into the session that was open last, that is what lies beyond its end, and
// no other log at hand has more; else also what it can't be trusted in.
func (w *world) checkRecovery(m session.PartitionState, kept *storage, able []*storage, agreed txn.ID) {
	d := &kept.disk.state
	if d.Promise().Reached() < m.Opened {
		if known := min(m.Trusted(d.Promise()), w.committed()); agreed < known {
			panic(violation{"recovery", fmt.Sprintf("s%d is kept, which knows everything up to %d to be committed, and differs above %d", kept.index+1, known, agreed)})
		}
		return
	}
	if end := min(d.Last, w.committed()); agreed < end {
		panic(violation{"recovery", fmt.Sprintf("s%d is kept, which ends at %d, and has other records than were committed above %d", kept.index+1, d.Last, agreed)})
	}
	for _, s := range able {
		if more := w.agreement(s); more > agreed {
			panic(violation{"recovery", fmt.Sprintf("s%d is kept, with what was committed up to %d, and s%d has it up to %d", kept.index+1, agreed, s.index+1, more)})
		}
	}
}

// giveUpAbove forgets what was committed beyond an ID, and lets the clients begin
// anew: their views are rebuilt, and what they had open they ask for no more.
func (w *world) giveUpAbove(end txn.ID) {
	for _, r := range w.truth[end+1:] {
		r.try.committed = txn.None
	}
	w.truth = w.truth[:end+1]
	for i := range w.lastTaken {
		w.lastTaken[i] = txn.None
	}
	for _, r := range w.truth {
		w.mark(r)
	}
	w.age++
	for _, c := range w.clients {
		c.hwm = min(c.hwm, end)
		c.epoch++
		c.subscribed = false
		for _, a := range c.open {
			a.done = true
		}
		c.open = nil
	}
}

// gone reports whether an attempt was made before a recovery: its client has
// forgotten it.
func (a *attempt) gone() bool { return a.age < a.c.w.age }

// void reports whether a tenure's session was given up by a recovery: what it does
// until it hears of that is admitted to be lost.
func (t *tenure) void() bool { return t.leader.Session() < t.w.recovered }
