package sim

import (
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// round is a question for the end of the log: what a server knows as committed
// is all that was, if a majority of members has promised no higher session since
// it was asked.
type round struct {
	t         *tenure
	committed txn.ID // that the server would answer
	truth     txn.ID // that was committed when it was asked
	have      uint16 // storages that have confirmed
	done      bool
}

func (s *server) confirm() {
	t := s.tenure
	if t == nil || t.ended || !t.isOpen {
		return
	}
	r := &round{t: t, committed: t.leader.Committed(), truth: s.w.committed()}
	for _, l := range t.links {
		if l != nil {
			s.w.push(&packet{kind: confirmSent, t: t, s: l.s, link: l, round: r})
		}
	}
}

func (r *round) confirmed(p *packet) {
	if why, _ := session.Refused(p.why); why == session.Fenced {
		r.t.linkFailed(p.link, p.why)
		return
	}
	if p.why != nil || r.done {
		return
	}
	if !r.t.leader.Counts(p.s.name, p.link.self) && !mutant.On("uncounted-replica-confirms") {
		return
	}
	r.have |= 1 << p.s.index
	confirmed := func(storage string) bool { return r.have&(1<<r.t.w.storage(storage).index) != 0 }
	if r.t.leader.Majority(confirmed) {
		r.done = true
		r.t.w.checkReadIndex(r)
	}
}
