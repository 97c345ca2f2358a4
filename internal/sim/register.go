package sim

import (
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/session"
)

// register is the metadata: M and its version.
type register struct {
	m       session.PartitionState
	version int
}

// compareAndSet changes M if its version is still the one that was read (rule 1).
func (w *world) compareAndSet(t *tenure, m session.PartitionState, version int) bool {
	r := &w.register
	fits := version == r.version
	claim := m.Session != t.base
	if mutant.On("cas-on-session-number") && !fits {
		fits = claim && r.m.Session == t.base || !claim && r.m.Session == m.Session
	}
	if !fits {
		w.note("%c: M was changed by somebody else", int64(t.server.letter()))
		return false
	}
	if mutant.On("members-of-stale-m") && claim {
		m.Members, m.Opened = r.m.Members, r.m.Opened
	}
	w.checkRegister(&m)
	w.learners.join(&r.m, &m)
	r.m, r.version = m, r.version+1
	w.note("%c: M := session %d, opened %d", int64(t.server.letter()), int64(m.Session), int64(m.Opened))
	w.remark(func() string { return "   members " + describeMembers(m.Members) })
	return true
}

func describeMembers(members []session.Member) string {
	s := ""
	for _, m := range members {
		s += " " + m.Storage + "#" + number(uint64(m.Incarnation)) + ":" + number(uint64(m.Installed))
	}
	return "[" + s + " ]"
}

// setTarget is the operator's change.
func (w *world) setTarget(target []string) bool {
	if slices.Equal(target, w.register.m.Target) {
		return false
	}
	for _, s := range w.storages {
		if !slices.Contains(target, s.name) && w.learning(s) {
			w.learners.Abandoned++
		}
	}
	w.register.m.Target = target
	w.register.version++
	w.note("the operator changes the target, version %d", int64(w.register.version))
	w.remark(func() string { return "   target " + join(target) })
	w.touch()
	return true
}

// touch lets all servers hear, one day, that M was changed.
func (w *world) touch() {
	for _, s := range w.servers {
		if s.tenure != nil && !s.tenure.ended {
			w.push(&packet{kind: touchTimer, t: s.tenure})
		}
	}
}
