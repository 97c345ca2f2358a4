package sim

import (
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// violation says which rule was broken, and how. It travels as a panic to where
// the schedule was started.
type violation struct{ rule, text string }

func (v violation) Error() string { return v.rule + ": " + v.text }

// demand panics unless a rule holds.
func demand(holds bool, rule, format string, args ...any) {
	if !holds {
		panic(violation{rule: rule, text: fmt.Sprintf(format, args...)})
	}
}

// committed returns the end of what was ever held for committed.
func (w *world) committed() txn.ID { return txn.ID(len(w.truth)) - 1 }

// checkWritten: a session writes each ID once (I3), and what it writes follows
// the log that it chose.
func (w *world) checkWritten(t *tenure, r *rec) {
	at := place{r.id, r.stamp}
	if w.written[at] != nil {
		panic(violation{"I3", fmt.Sprintf("two servers write record %d in session %d", r.id, r.stamp)})
	}
	if n := len(t.own); n > 0 {
		r.prev = t.own[n-1]
	} else if r.id > 0 {
		r.prev = w.written[place{r.id - 1, t.leader.StampAt(r.id - 1)}]
	}
	w.written[at] = r
}

// checkRecords: a record that a replica takes stands behind the same record as
// where it was first written, so (ID, stamp) tells all that is below (I2).
func (w *world) checkRecords(s *storage, recs []*rec) {
	prev, last := (*rec)(nil), s.mem.state.Last
	if last >= 0 {
		prev = s.mem.log[last]
	}
	for _, r := range recs {
		if r.prev != prev || r.id != last+1 {
			panic(violation{"I2", fmt.Sprintf("s%d puts record %d of session %d behind record %d of another log", s.index+1, r.id, r.stamp, last)})
		}
		prev, last = r, r.id
	}
}

// checkTruncate: no replica drops what it knows to be committed (P2), nor what
// was committed, whether it knows or not (P1). Only of what it has just copied, and
// not installed, a Truncate that comes twice may take away again.
func (w *world) checkTruncate(t *tenure, s *storage, last txn.ID) {
	if known := s.mem.state.Committed; last < known {
		panic(violation{"P2", fmt.Sprintf("s%d drops records above %d, though it knows that %d is committed", s.index+1, last, known)})
	}
	if first := last + 1; !w.disaster && !t.void() && (first < s.copied || s.mem.state.Installed == s.mem.state.Promised) &&
		first <= w.committed() && s.mem.log[first] == w.truth[first] {
		panic(violation{"P1", fmt.Sprintf("s%d drops record %d, which was committed", s.index+1, first)})
	}
}

// checkFence: a promise holds for as long as its disk (I3, P3).
func (w *world) checkFence(s *storage, id txn.SessionID) {
	if id < s.fence {
		panic(violation{"I3", fmt.Sprintf("s%d takes an append of session %d after it has promised %d", s.index+1, id, s.fence)})
	}
}

// checkRestarted: what was promised is on the disk (P4).
func (w *world) checkRestarted(s *storage) {
	if s.disk.state.Promised < s.fence {
		panic(violation{"P4", fmt.Sprintf("s%d promised session %d and remembers %d", s.index+1, s.fence, s.disk.state.Promised)})
	}
	if c := s.disk.state; c.Installed > c.Promised || c.Committed > c.Last || c.Last != txn.ID(len(s.disk.log))-1 {
		panic(violation{"P4", fmt.Sprintf("s%d has a state that no replica can have", s.index+1)})
	}
}

// checkCommitted: what a replica knows as committed is (P2).
func (w *world) checkCommitted(t *tenure, s *storage) {
	known := s.mem.state.Committed
	if w.disaster || known < 0 || t.void() {
		return
	}
	if known > w.committed() || s.mem.log[known] != w.truth[known] {
		panic(violation{"P2", fmt.Sprintf("s%d holds record %d for committed, which it is not", s.index+1, known)})
	}
}

// checkRegister: sessions in M never go back (P4).
func (w *world) checkRegister(m *session.PartitionState) {
	now := &w.register.m
	if m.Session < now.Session || m.Opened < now.Opened {
		panic(violation{"P4", fmt.Sprintf("M goes back from session %d, opened %d to %d, %d", now.Session, now.Opened, m.Session, m.Opened)})
	}
}

// choice takes note that a tenure has chosen a log: it has everything that
// earlier sessions committed (P1).
func (t *tenure) choice() {
	if t.chosen {
		return
	}
	t.chosen = true
	t.w.note("%c: session %d has chosen a log that ends at %d", int64(t.server.letter()), int64(t.leader.Session()), int64(t.leader.High()))
	if t.void() {
		return
	}
	for _, other := range t.w.tenures {
		if other.isOpen && !other.void() && other.leader.Session() < t.leader.Session() {
			t.holds(other.learned)
		}
	}
}

// holds demands that a record that an earlier session committed is in the log
// that this one chose (P1).
func (t *tenure) holds(id txn.ID) {
	if t.w.disaster || id < 0 {
		return
	}
	if id > t.w.committed() {
		panic(violation{"P3", fmt.Sprintf("a session that was given up goes on: it holds record %d for committed, and the log ends at %d", id, t.w.committed())})
	}
	if t.leader.High() < id || t.leader.StampAt(id) != t.w.truth[id].stamp {
		panic(violation{"P1", fmt.Sprintf("session %d has chosen a log that ends at %d, without record %d of session %d, which was committed",
			t.leader.Session(), t.leader.High(), id, t.w.truth[id].stamp)})
	}
}

// learn takes note of what a tenure holds for committed.
func (t *tenure) learn() {
	committed := t.leader.Committed()
	if committed <= t.learned {
		return
	}
	if !t.w.disaster && !t.void() {
		t.learnUpTo(committed)
	}
	t.learned = committed
	t.w.note("%c: committed %d", int64(t.server.letter()), int64(committed))
	t.seq.settle(committed)
	t.feedAll(committed)
}

func (t *tenure) learnUpTo(committed txn.ID) {
	w := t.w
	t.checkSynced(committed)
	if known := min(committed, w.committed()); known >= 0 {
		t.agrees(known)
	}
	for id := w.committed() + 1; id <= committed; id++ {
		r := w.written[place{id, t.leader.StampAt(id)}]
		if r == nil || id > 0 && r.prev != w.truth[id-1] {
			panic(violation{"I2", fmt.Sprintf("session %d commits record %d behind another log", t.leader.Session(), id)})
		}
		w.truth = append(w.truth, r)
		w.checkTransaction(r)
	}
	for _, later := range w.tenures {
		if later.chosen && later.leader.Session() > t.leader.Session() {
			later.holds(committed)
		}
	}
}

// agrees: two servers never hold different records for committed (P1, P6).
func (t *tenure) agrees(id txn.ID) {
	if stamp := t.leader.StampAt(id); stamp != t.w.truth[id].stamp {
		panic(violation{"P1", fmt.Sprintf("record %d was committed by session %d, session %d holds that of %d for committed", id, t.w.truth[id].stamp, t.leader.Session(), stamp)})
	}
}

// checkSynced: what is committed is, or has been, on the disks of a majority of
// members (I1).
func (t *tenure) checkSynced(id txn.ID) {
	r := t.w.written[place{id, t.leader.StampAt(id)}]
	have, members := make([]session.Incarnation, 0, storagesMax), t.m.Members
	if len(members) == 0 {
		members = t.next.Members // it believes that they are recorded
	}
	for _, m := range members {
		s, self := t.w.storage(m.Storage), m.Incarnation
		if self == 0 {
			self = s.disk.state.Self.Incarnation
		}
		if r != nil && !slices.Contains(have, self) && t.maySayThatItSynced(s, r) {
			have = append(have, self) // two names of one disk are one
		}
	}
	if r == nil || !quorum.Reached(len(have), len(members)) {
		panic(violation{"I1", fmt.Sprintf("session %d commits record %d, which %d of %d members have synced", t.leader.Session(), id, len(have), len(members))})
	}
}

// maySayThatItSynced reports whether a storage has a record on its disk, or had
// it there when its answer left and was opened anew by nobody who counts on it.
func (t *tenure) maySayThatItSynced(s *storage, r *rec) bool {
	if r.id <= s.disk.state.Last && s.disk.log[r.id] == r {
		return true
	}
	return r.durable&s.bit != 0 && !t.leader.Counts(s.name, s.disk.state.Self)
}

// checkRecoverable: if all processes ended now, any majority of members that can
// be heard would choose a log with everything that was committed (P1). A bad
// majority exists if enough votes are no better than that of one who lacks it.
func (w *world) checkRecoverable() {
	end := w.committed()
	if end < 0 || w.disaster {
		return
	}
	votes := w.votes[:0]
	lacking := false
	var seen uint16
	for _, m := range w.register.m.Members {
		if s := w.storage(m.Storage); w.eligible(m) && seen&s.bit == 0 {
			seen |= s.bit
			d := &s.disk
			v := vote{s, d.state.Installed, d.state.Last, d.state.Last >= end && d.log[end] == w.truth[end]}
			lacking = lacking || !v.holds
			votes = append(votes, v)
		}
	}
	w.votes = votes
	if !lacking {
		return
	}
	for _, worst := range votes {
		n := 0
		for _, v := range votes {
			if v.installed < worst.installed || v.installed == worst.installed && v.last <= worst.last {
				n++
			}
		}
		if !worst.holds && quorum.Reached(n, len(w.register.m.Members)) {
			panic(violation{"P1", fmt.Sprintf("a majority of members would choose the log of s%d: installed %d, last %d, without record %d, which was committed",
				worst.s.index+1, worst.installed, worst.last, end)})
		}
	}
}

// vote is what a member's disk would say in a choice.
type vote struct {
	s         *storage
	installed txn.SessionID
	last      txn.ID
	holds     bool // all that was committed
}

// checkTransaction: a request commits once (I4), none that was refused (P6), and
// none that was computed from a stale state (I5).
func (w *world) checkTransaction(r *rec) {
	a := r.try
	if a.committed != txn.None {
		panic(violation{"I4", fmt.Sprintf("request %d is committed as %d and as %d", a.n, a.committed, r.id)})
	}
	a.committed = r.id
	if a.refused && !a.gone() {
		panic(violation{"P6", fmt.Sprintf("request %d was refused and is committed as %d", a.n, r.id)})
	}
	for _, l := range a.locks {
		if taken := w.lastTaken[l.Hash-1]; l.Mode.Checks() && taken > a.hwm {
			panic(violation{"I5", fmt.Sprintf("request %d of high-water mark %d is committed as %d, though %d took its lock", a.n, a.hwm, r.id, taken)})
		}
	}
	w.mark(r)
}

// mark takes note of the locks that a committed record has taken.
func (w *world) mark(r *rec) {
	for _, l := range r.try.locks {
		if l.Mode.Marks() {
			w.lastTaken[l.Hash-1] = r.id
		}
	}
}

// answer sends a client the outcome of its attempt: final, so true (I8, P6).
func (w *world) answer(t *tenure, a *wait) {
	if !w.disaster && !t.void() {
		w.checkAnswer(a)
	}
	w.note("%c answers request %d: %d (%d)", int64(t.server.letter()), int64(a.try.n), int64(a.answer.what), int64(a.answer.id))
	w.push(&packet{kind: attemptAnswered, t: t, c: a.try.c, try: a.try, answer: a.answer})
}

func (w *world) checkAnswer(a *wait) {
	switch a.answer.what {
	case committedAnswer:
		if a.answer.id > w.committed() || w.truth[a.answer.id].try != a.try {
			panic(violation{"I1", fmt.Sprintf("request %d is answered with %d, which is not committed or another's", a.try.n, a.answer.id)})
		}
	case conflictAnswer, staleAnswer:
		a.try.refused = true
		if a.try.committed != txn.None {
			panic(violation{"P6", fmt.Sprintf("request %d is refused and was committed as %d", a.try.n, a.try.committed)})
		}
	}
}

// checkFed: only what is committed is fed (I6).
func (w *world) checkFed(t *tenure, recs []*rec) {
	if w.disaster || t.void() {
		return
	}
	for _, r := range recs {
		if r.id > w.committed() || w.truth[r.id] != r {
			panic(violation{"I6", fmt.Sprintf("record %d of session %d is fed, and not committed", r.id, r.stamp)})
		}
	}
}

// checkRead: what a storage is asked for as committed is what was (I2).
func (w *world) checkRead(t *tenure, s *storage, last txn.ID) {
	if !w.disaster && !t.void() && s.mem.log[last] != w.truth[last] {
		panic(violation{"I2", fmt.Sprintf("s%d is read from, and has another record %d than was committed", s.index+1, last)})
	}
}

// checkReceived: a subscriber gets what follows (I6).
func (w *world) checkReceived(c *client, r *rec) {
	if r.id != c.hwm+1 {
		panic(violation{"I6", fmt.Sprintf("client %d at %d is fed record %d", c.index+1, c.hwm, r.id)})
	}
}

// checkReadIndex: who asks for the end of the log hears of everything that was
// committed before.
func (w *world) checkReadIndex(r *round) {
	if !w.disaster && !r.t.void() && r.committed < r.truth {
		panic(violation{"read index", fmt.Sprintf("session %d answers %d, when %d was committed", r.t.leader.Session(), r.committed, r.truth)})
	}
}
