package sim

import (
	"math/rand/v2"
	"slices"

	"github.com/waltz-log/waltz/internal/session"
)

// Learners counts what became of newcomers: storages of M's target that are copied
// to while they are no members.
type Learners struct {
	Begun     uint64 // opened by a session that they are no members of
	Disturbed uint64 // crashed, wiped or put back to an older disk on the way
	Offered   uint64 // targets whose newcomers were all near the end
	Abandoned uint64 // no longer wanted
	Joined    uint64 // became members
	Behind    uint64 // of these, had not installed the session when M recorded them
}

func (l *Learners) add(o Learners) {
	l.Begun += o.Begun
	l.Disturbed += o.Disturbed
	l.Offered += o.Offered
	l.Abandoned += o.Abandoned
	l.Joined += o.Joined
	l.Behind += o.Behind
}

func (l *Learners) begin(t *tenure, storage string) {
	if _, member := t.w.register.m.Member(storage); t.isOpen && !member {
		l.Begun++
	}
}

func (l *Learners) disturb(s *storage) {
	if s.w.learning(s) {
		l.Disturbed++
	}
}

// join counts who is a member of a session that is being recorded, and was none.
func (l *Learners) join(before, m *session.PartitionState) {
	if m.Opened == before.Opened || len(before.Members) == 0 {
		return
	}
	for _, one := range m.Members {
		if _, was := before.Member(one.Storage); !was {
			l.Joined++
			if one.Installed < m.Opened {
				l.Behind++
			}
		}
	}
}

// learning reports whether a storage is copied to by an open session that it is no
// member of.
func (w *world) learning(s *storage) bool {
	m := &w.register.m
	if _, member := m.Member(s.name); member || !slices.Contains(m.Target, s.name) {
		return false
	}
	return slices.ContainsFunc(w.servers, func(o *server) bool {
		t := o.tenure
		return t != nil && !t.ended && t.isOpen && t.leader.Session() == s.mem.state.Promised
	})
}

// learner changes the members the long way: the operator wants newcomers, the
// session copies to them, and at some moment something happens to one of them, to
// whom it is copied from, to the session or to the change. Then, most often, a
// session is opened on the target, whether or not all have been copied to, and
// something happens again while that cuts, copies and installs.
func (w *world) learner(a action) bool {
	t, _ := w.serving(a)
	if t == nil {
		return false
	}
	w.setTarget(w.newcomers(a.b))
	i := slices.IndexFunc(w.storages, func(s *storage) bool { return w.isNewcomer(s.name) })
	if i < 0 {
		return false
	}
	for range int(a.b) % 3 {
		i = (i + 1) % len(w.storages)
	}
	for !w.isNewcomer(w.storages[i].name) {
		i = (i + 1) % len(w.storages)
	}
	who := w.storages[i]
	w.pursue(t, who, int(a.a>>4)%64)
	if a.b&0x10 != 0 {
		who.backup = who.disk.clone()
		w.pursue(t, who, int(a.a>>10))
	}
	held := w.mishap(t, who, a.b>>5)
	if a.a&1 == 0 {
		w.changeOver(t, who, a)
	}
	for _, p := range held {
		w.deliver(p)
	}
	return true
}

// newcomers makes a target of which one or more are no members, if there are such;
// some or all members stay.
func (w *world) newcomers(b uint16) []string {
	rnd := rand.New(rand.NewPCG(uint64(b), 11))
	var stay, come []string
	for _, i := range rnd.Perm(len(w.storages)) {
		if name := w.storages[i].name; w.isMember(name) {
			stay = append(stay, name)
		} else {
			come = append(come, name)
		}
	}
	if len(come) == 0 {
		return stay
	}
	come = come[:1+rnd.IntN(len(come))]
	if len(stay) > 0 {
		stay = stay[:len(stay)-rnd.IntN(len(stay)+1)]
	}
	return append(come, stay...)
}

func (w *world) isMember(storage string) bool {
	_, ok := w.register.m.Member(storage)
	return ok
}

func (w *world) isNewcomer(storage string) bool {
	return !w.isMember(storage) && slices.Contains(w.register.m.Target, storage)
}

// pursue lets so many of a session's messages arrive that have to do with M and with
// copying, while disks sync; that of one storage may lag behind by one message.
func (w *world) pursue(t *tenure, who *storage, n int) {
	of := func(p *packet) bool {
		switch p.kind {
		case touchTimer, toRegister, fromRegister, toStorage, toSource, fromStorage:
			return p.t == t
		}
		return false
	}
	for i := range n {
		if i%16 == 15 {
			t.appendSome(1, uint16(i))
		}
		for _, s := range w.storages {
			s.sync(1)
		}
		if t.ended || !w.deliverFirst(of) {
			return
		}
	}
}

// mishap lets something happen to a newcomer or to the change. What it returns is
// still under way, and arrives late.
func (w *world) mishap(t *tenure, who *storage, b uint16) []*packet {
	under := func(p *packet) bool { return p.t == t && p.s == who && p.isMessage() }
	switch b % 12 {
	case 0, 1:
		who.crash(b >> 4)
		who.up = true
	case 2:
		who.wipe()
	case 3, 4:
		who.restore()
	case 5:
		for _, p := range w.hold(under) {
			w.lose(p)
		}
	case 6, 7:
		return w.hold(under)
	case 8: // the change is given up
		var back []string
		for _, m := range w.register.m.Members {
			back = append(back, m.Storage)
		}
		w.setTarget(back)
		w.pursue(t, who, int(b>>4)%16)
	case 9: // another one before it was made
		w.setTarget(w.newcomers(b >> 1))
		w.pursue(t, who, int(b>>4)%16)
	case 10:
		for _, l := range t.links { // whom it is copied from, perhaps
			if l != nil {
				l.s.crash(b >> 4)
				break
			}
		}
	case 11:
		t.ended = true
		w.push(&packet{kind: reopenTimer, server: t.server})
	}
	return nil
}

// changeOver appends what the newcomers are not copied, opens a session on the
// target, and breaks something on the way, or lets it open on a bare majority.
func (w *world) changeOver(t *tenure, who *storage, a action) {
	t.appendSome(1+int(a.a>>1)%4, a.b)
	w.appendsArrive(t)
	s := t.server
	if a.a&8 != 0 {
		s = w.servers[(s.index+1)%len(w.servers)]
		s.generation = max(s.generation, t.server.generation)
	}
	s.prepared = slices.Clone(w.register.m.Target)
	if a.b&3 == 0 { // the old members are out of reach, but for those that a choice needs
		w.leaveBareMajority(s)
	}
	if a.b&12 == 0 {
		w.takeOver(s, int(a.a>>5)%4)
		return
	}
	s.open()
	w.pursue(s.tenure, who, 4+int(a.a>>6)%48)
	switch a.b >> 2 % 8 {
	case 0:
		who.crash(a.a)
	case 1:
		who.wipe()
	case 2:
		who.restore()
	case 3:
		s.tenure.ended = true
		w.push(&packet{kind: reopenTimer, server: s})
	case 4:
		w.setTarget(w.newcomers(a.a))
	}
}

// appendsArrive lets a session's appends and their answers arrive.
func (w *world) appendsArrive(t *tenure) {
	for range 24 {
		if t.ended || !w.deliverFirst(func(p *packet) bool { return p.t == t && (p.kind == stream || p.kind == appended) }) {
			return
		}
		for _, s := range w.storages {
			s.sync(1)
		}
	}
}

// leaveBareMajority cuts a server off from members that a choice can do without.
func (w *world) leaveBareMajority(s *server) {
	members := w.register.m.Members
	for i, m := range members {
		if i > len(members)/2 {
			w.cut[s.index][w.storage(m.Storage).index] = true
		}
	}
}
