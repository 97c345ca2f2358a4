package session

import (
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/txn"
)

// judge puts aside a replica that cannot take part, and says of one that has no
// vote in the choice why that is: it may be what the choice waits for.
func (l *Leader) judge(r *replica) {
	if err := l.check(r); err != nil {
		l.reject(r, err)
		return
	}
	l.tellApart(r)
	if m, member := l.m.Member(r.storage); l.phase == choosing && member && r.step == promised && !l.votes(r) {
		r.why = voteless(r.promise, m)
		l.emit(Unfit{Storage: r.storage, Err: r.why})
	}
}

// voteless says why a member's answer is no vote.
func voteless(p Promise, m Member) error {
	if m.Incarnation == 0 {
		return fmt.Errorf("%w, or is new: incarnation %d was never recorded", ErrWiped, p.Replica.Incarnation)
	}
	return fmt.Errorf("%w: it is incarnation %d with session %d installed, recorded was incarnation %d with session %d",
		ErrWiped, p.Replica.Incarnation, p.Installed, m.Incarnation, m.Installed)
}

func (l *Leader) reject(r *replica, why error) {
	r.step, r.near, r.why = unfit, false, why
	l.emit(Unfit{Storage: r.storage, Err: why})
}

// givenUp says why a replica would refuse to be cut to where it agrees with the log.
// No session can choose a log without what is committed (P1), but an operator can.
func givenUp(p Promise, agreed txn.ID, of txn.Partition) error {
	return fmt.Errorf("%w: up to %d, and it agrees with the log up to %d; reset it with waltz storage reset --partition %d", ErrGivenUp, p.Committed, agreed, of)
}

// Unfit returns the replicas that take no part until somebody does something about
// them, by storage, and why.
func (l *Leader) Unfit() map[string]error {
	all := map[string]error{}
	for _, r := range l.replicas {
		if r.step == unfit && l.wanted(r.storage) && NeedsOperator(r.why) {
			all[r.storage] = r.why
		}
	}
	return all
}

// check reports a promise that no replica of this partition can make.
func (l *Leader) check(r *replica) error {
	p := r.promise
	if err := Map(p.Map).Check(p.Last); err != nil {
		return fmt.Errorf("%w: %w", ErrForeignData, err)
	}
	switch {
	case p.Installed > p.Promised || p.Committed > p.Last || p.Replica.Incarnation == 0:
		return fmt.Errorf("%w: installed %d, promised %d, committed %d, last %d", ErrForeignData, p.Installed, p.Promised, p.Committed, p.Last)
	case len(l.m.Members) == 0 && p.Last != txn.None:
		return fmt.Errorf("%w: the partition is new, the replica ends at %d", ErrForeignData, p.Last)
	}
	return nil
}

// tellApart lets a replica that two storages answer with take part once: one disk
// under two names is no majority of three (I1). The name that M knows it by stays,
// unless the other one has begun to be installed: then that one does.
func (l *Leader) tellApart(r *replica) {
	twin := l.twin(r)
	if twin == nil || mutant.On("one-disk-counted-twice") {
		return
	}
	if twin.step == promised && l.remembered(r) && !l.remembered(twin) {
		r, twin = twin, r
	}
	l.reject(r, fmt.Errorf("%w: %s and %s are both incarnation %d", ErrOneReplica, r.storage, twin.storage, r.promise.Replica.Incarnation))
}

// twin returns another storage's replica that is the same one.
func (l *Leader) twin(r *replica) *replica {
	for _, other := range l.replicas {
		if other != r && other.step >= promised && other.promise.Replica.Incarnation == r.promise.Replica.Incarnation {
			return other
		}
	}
	return nil
}

// remembered reports whether a replica is the very one that M has by this name.
func (l *Leader) remembered(r *replica) bool {
	m, ok := l.m.Member(r.storage)
	return ok && r.promise.Replica.Incarnation == m.Incarnation
}

// votes reports whether a promise counts in the choice: the very replica that M
// remembers, and not behind a session that M says it installed (step 3).
func (l *Leader) votes(r *replica) bool {
	m, ok := l.m.Member(r.storage)
	if !ok && mutant.On("learner-votes") {
		return r.step == promised && len(l.m.Members) > 0
	}
	if !ok || r.step != promised {
		return false
	}
	if mutant.On("wiped-replica-counted") {
		return true
	}
	return l.remembered(r) && r.promise.Installed >= m.Installed
}

// giveUpIfAllAnswered ends an attempt that no answer can help any more, so that
// the operator hears of it at once. One that only those can help that have failed is
// not Alive.
func (l *Leader) giveUpIfAllAnswered() {
	if l.phase != choosing && l.phase != installing {
		return
	}
	var why error
	able := 0
	for _, r := range l.replicas {
		switch {
		case r.step == away || r.step == opening:
			return
		case r.why != nil && (r.step == unfit || l.phase == choosing):
			why = also(why, r)
		case l.phase == installing && slices.Contains(l.targets(), r.storage):
			able++
		}
	}
	if l.phase == choosing || !quorum.Reached(able, len(l.targets())) {
		l.end(fmt.Errorf("%w: %w", ErrNoMajority, why))
	}
}

// also adds why a replica is unfit to what was said of others.
func also(err error, r *replica) error {
	if err == nil {
		return fmt.Errorf("storage %s: %w", r.storage, r.why)
	}
	return fmt.Errorf("%w; storage %s: %w", err, r.storage, r.why)
}
