package monitor

import "github.com/waltz-log/waltz/internal/txn"

// Limits bound what a monitor has in its books: attempts and bytes of bodies.
// One attempt above the byte limit is let in when nothing else is there.
type Limits struct {
	Attempts int
	Bytes    int
}

// Monitor is the books of one client.
type Monitor struct {
	limits   Limits
	attempts int // admitted
	bytes    int
	held     list
	unrouted list // their partition has no known owner
	parked   list
	owners   []*Lane // by partition; nil: nobody owns it now
	done     []*Attempt
}

// New returns empty books for that many partitions, none of which has an owner.
func New(partitions int, limits Limits) *Monitor {
	return &Monitor{limits: limits, owners: make([]*Lane, partitions)}
}

// NewLane adds a server, not connected, owner of nothing.
func (m *Monitor) NewLane() *Lane { return &Lane{monitor: m} }

// Add takes a new attempt, or one that was dropped and is asked for again.
func (m *Monitor) Add(a *Attempt) {
	a.abandoned = false
	if m.held.n > 0 || !m.fits(a) {
		a.State = Held
		m.held.pushBack(a)
		return
	}
	m.admit(a)
}

func (m *Monitor) fits(a *Attempt) bool {
	return m.attempts == 0 || m.attempts < m.limits.Attempts && m.bytes+a.size() <= m.limits.Bytes
}

func (m *Monitor) admit(a *Attempt) {
	a.admitted = true
	m.attempts++
	m.bytes += a.size()
	a.State = Waiting
	m.queueOf(a).pushBack(a)
}

// queueOf returns where an attempt waits, by the owner of its partition.
func (m *Monitor) queueOf(a *Attempt) *list {
	if lane := m.owners[a.Partition]; lane != nil {
		return &lane.waiting
	}
	return &m.unrouted
}

// leave takes an attempt out of the limits and lets in what is held.
func (m *Monitor) leave(a *Attempt, s State) {
	a.State = s
	if a.admitted {
		a.admitted = false
		m.attempts--
		m.bytes -= a.size()
	}
	for h := m.held.head; h != nil && m.fits(h); h = m.held.head {
		m.held.remove(h)
		m.admit(h)
	}
}

// Owner returns the lane that a partition's attempts go to; nil if none.
func (m *Monitor) Owner(p txn.Partition) *Lane { return m.owners[p] }

// Route sets every partition's owner and moves what waits. What is on a stream
// stays there: its server answers it, or refuses it as not the owner.
func (m *Monitor) Route(owners []*Lane) {
	var moved list
	for i, lane := range m.owners {
		if lane != nil && lane != owners[i] {
			lane.evict(txn.Partition(i), &moved)
		}
	}
	for a := m.unrouted.head; a != nil; a = m.unrouted.head {
		m.unrouted.remove(a)
		moved.pushBack(a)
	}
	copy(m.owners, owners)
	for a := moved.head; a != nil; a = moved.head {
		moved.remove(a)
		m.queueOf(a).pushBack(a)
	}
}

// Release queues again what was refused for now, before what came later.
func (m *Monitor) Release() {
	for a := m.parked.tail; a != nil; a = m.parked.tail {
		m.parked.remove(a)
		a.State = Waiting
		m.queueOf(a).pushFront(a)
	}
}

// Stalled returns how many attempts wait for Route or Release.
func (m *Monitor) Stalled() int { return m.unrouted.n + m.parked.n }

// Unanswered returns how many attempts are in the books, and their bytes.
func (m *Monitor) Unanswered() (attempts, bytes int) { return m.attempts, m.bytes }

// Abandon tells that nobody listens to an attempt any more. It returns its
// state: Answered, then Outcome holds; Dropped, then it is out of the books,
// and was not committed unless Unsure; Sent, then its answer may still come.
func (m *Monitor) Abandon(a *Attempt) State {
	switch a.State {
	case Held, Waiting, Parked:
		a.list.remove(a)
		m.leave(a, Dropped)
	case Sent:
		a.abandoned = true
	}
	return a.State
}

// Adopt listens again to an attempt that was abandoned: it is added if it was
// dropped. It returns the state; Answered, then Outcome holds.
func (m *Monitor) Adopt(a *Attempt) State {
	a.abandoned = false
	if a.State == Dropped {
		m.Add(a)
	}
	return a.State
}

// TakeDone returns the attempts that were answered since the last call. The
// slice is valid until the next event.
func (m *Monitor) TakeDone() []*Attempt {
	done := m.done
	m.done = m.done[:0]
	return done
}

// Held returns how many attempts wait for the limits.
func (m *Monitor) Held() int { return m.held.n }

// Shut takes everything out of the books, as the client closes, and returns
// what somebody listened to. It is dropped; what was on a stream is unsure.
func (m *Monitor) Shut(lanes []*Lane) []*Attempt {
	for _, l := range lanes {
		l.Break()
	}
	all := m.held.drain(nil)
	for _, l := range lanes {
		all = l.waiting.drain(all)
	}
	all = m.parked.drain(m.unrouted.drain(all))
	for _, a := range all {
		a.State, a.admitted = Dropped, false
	}
	m.attempts, m.bytes = 0, 0
	return all
}
