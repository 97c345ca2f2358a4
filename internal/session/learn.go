package session

import (
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/quorum"
)

// A newcomer is a storage of M's target that is no member of the open session.
// It has promised the session, so that no lower one writes to it, and is cut and
// copied to from the members' storages, committed records only. It never
// installs the session, takes no appends and counts for nothing. When all of
// them are near the end, the next session can be opened on the target with
// little to copy: that is the pause.

// targets returns who should be members of this session.
func (l *Leader) targets() []string {
	members := l.memberNames()
	if l.phase >= open || l.keep && len(members) > 0 && !sameSet(l.m.Target, l.prepared) {
		return members
	}
	return l.m.Target
}

func (l *Leader) memberNames() []string {
	var names []string
	for _, m := range l.m.Members {
		names = append(names, m.Storage)
	}
	return names
}

func sameSet(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// newcomer reports whether a storage is to be a member of the next session and is
// none of this one.
func (l *Leader) newcomer(storage string) bool {
	_, member := l.m.Member(storage)
	return l.phase == open && !member && slices.Contains(l.m.Target, storage)
}

// wanted reports whether a storage has a part in this session.
func (l *Leader) wanted(storage string) bool {
	_, member := l.m.Member(storage)
	return l.phase < open || member || slices.Contains(l.m.Target, storage)
}

// followTarget begins with newcomers, and brings those that wait up to date.
func (l *Leader) followTarget() {
	if l.phase != open {
		return
	}
	for _, storage := range l.m.Target {
		if !l.newcomer(storage) {
			continue
		}
		r := l.replica(storage)
		if r == nil {
			r = &replica{storage: storage}
			l.replicas = append(l.replicas, r)
		}
		if r.step <= unfit {
			l.openReplica(r)
		}
		l.bringIn(r)
		l.refresh(r)
	}
	l.offerSwitch()
}

// refresh copies what was committed since to a newcomer that waits.
func (l *Leader) refresh(r *replica) {
	if r.step == learned && r.last < l.committed {
		r.near, r.goal = false, l.committed
		l.copyTo(r)
	}
}

// learn goes on after a copy to a newcomer. One that did not reach what was
// committed when it was sent goes on; it also has those that wait for it kept up to
// date. One that did is near: what it lacks was committed during one message.
func (l *Leader) learn(r *replica) {
	if r.last >= r.goal {
		if mutant.On("learner-counted") {
			l.install(r)
			return
		}
		r.step, r.near = learned, true
		l.offerSwitch()
		return
	}
	r.goal = l.committed
	l.copyTo(r)
	for _, other := range l.replicas {
		if l.newcomer(other.storage) {
			l.refresh(other)
		}
	}
}

// offerSwitch says, once for each target, when it is time for a session on it.
func (l *Leader) offerSwitch() {
	if l.offered || len(l.m.Target) == 0 || sameSet(l.m.Target, l.memberNames()) {
		return
	}
	able := 0
	for _, storage := range l.m.Target {
		r := l.replica(storage)
		switch {
		case r != nil && (r.step == counted || r.step == learned && r.near):
			able++
		case l.newcomer(storage):
			return
		}
	}
	if quorum.Reached(able, len(l.m.Target)) {
		l.offered = true
		l.emit(Switchable{Target: slices.Clone(l.m.Target)})
	}
}
