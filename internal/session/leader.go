package session

import (
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/txn"
)

// Leader is the server's half of one session: one claimed number, one choice of
// a log, one tenure. A failed attempt is not repaired; a new Leader claims a new
// number (rule 2).
//
//	loading → claiming → choosing → installing → recording → open
//	                    any of them → ended
//
// Every replica goes its own way beside that: opened, then, once the log is
// chosen, truncated, copied to and installed, and once M records it, counted. A
// replica that failed begins again at Open, with its new start.
//
// Step is to be told of everything that happens; between Opened and Ended,
// Append and Appended are the hot path. Not safe for concurrent use.
type Leader struct {
	partition  txn.Partition
	generation int64

	phase    phase
	m        PartitionState // as last read or written
	session  txn.SessionID
	replicas []*replica
	keep     bool           // see Keep
	prepared []string       // the target that Keep named
	changing bool           // a ChangeM or LoadM is unanswered
	reading  bool           // it is a LoadM
	touched  bool           // M may have changed since it was sent
	offered  bool           // Switchable was emitted for this target
	next     PartitionState // what ChangeM would make of M
	source   *replica       // whose log was chosen; nil: a new partition, or not yet
	high     txn.ID         // h, the end of the chosen log
	logMap   Map            // of the chosen log, and of what was appended since

	last      txn.ID   // highest appended
	committed txn.ID   // highest committed; meaningful when open
	answered  []txn.ID // scratch for quorum.Committed
	out       []Output
}

type phase uint8

const (
	loading phase = iota
	claiming
	choosing
	installing
	recording
	open
	ended
)

// NewLeader begins an attempt to open a session of a partition that was assigned
// to the caller with a generation. The first output is LoadM.
func NewLeader(p txn.Partition, generation int64) (*Leader, []Output) {
	l := &Leader{partition: p, generation: generation, high: txn.None, last: txn.None, committed: txn.None}
	return l, []Output{LoadM{}}
}

// Keep makes the session open on the members that M has, unless M's target is
// the prepared set, of which another session said Switchable. Newcomers are then
// copied to beside the appends, instead of before them. Without Keep a session
// opens on whatever target M has. To be called before the first Step.
func (l *Leader) Keep(prepared []string) { l.keep, l.prepared = true, slices.Clone(prepared) }

// Session returns the number that was claimed.
func (l *Leader) Session() txn.SessionID { return l.session }

// Committed returns the highest ID that a majority of members has answered.
func (l *Leader) Committed() txn.ID { return l.committed }

// High returns h, the end of the chosen log; [txn.None] before the choice.
func (l *Leader) High() txn.ID { return l.high }

// StampAt returns the stamp of a record of the session's log.
func (l *Leader) StampAt(id txn.ID) txn.SessionID { return l.logMap.StampAt(id) }

// Step takes one event and returns what is to be done. The slice is valid until
// the next call.
func (l *Leader) Step(e Event) []Output {
	l.out = l.out[:0]
	if l.phase == ended {
		return nil
	}
	switch e := e.(type) {
	case Loaded:
		l.loaded(e.M)
	case Changed:
		l.changed()
	case NotChanged:
		l.notChanged()
	case Promised:
		l.promised(e)
	case Truncated:
		l.truncated(e)
	case Copied:
		l.copied(e)
	case Installed:
		l.installed(e)
	case Failed:
		l.failed(e)
	case Retry:
		l.retry(e.Storage)
	case Touched:
		l.lookAgain()
	}
	return l.out
}

func (l *Leader) emit(o Output) { l.out = append(l.out, o) }

func (l *Leader) end(err error) {
	if l.phase == ended {
		return
	}
	l.phase = ended
	l.emit(Ended{Err: err})
}

// loaded claims the next number, or, when the session is open, looks who
// changed M.
func (l *Leader) loaded(m PartitionState) {
	switch {
	case m.Generation > l.generation:
		l.end(fmt.Errorf("%w: generation %d, ours is %d", ErrReassigned, m.Generation, l.generation))
	case l.phase == loading:
		l.claim(m)
	case !l.reading:
	case m.Session != l.session:
		l.end(fmt.Errorf("%w: session %d was claimed", ErrFenced, m.Session))
	case l.phase < open && !m.same(l.m):
		l.end(ErrChanged) // the compare-and-set of step 5 would fail, if it ever came to that
	case l.phase < open:
		l.settled()
		l.record()
	default:
		l.m, l.offered = m, false // the operator's change, of the target say
		for _, r := range l.replicas {
			r.inNext = false
		}
		l.settled()
	}
}

func (l *Leader) claim(m PartitionState) {
	if len(m.Target) == 0 {
		l.end(ErrNoTarget)
		return
	}
	l.phase, l.session = claiming, m.Session+1
	next := m.Clone()
	next.Session, next.Generation = l.session, l.generation
	l.change(next)
}

func (l *Leader) change(next PartitionState) {
	l.changing, l.next = true, next
	l.emit(ChangeM{M: next.Clone()})
}

func (l *Leader) changed() {
	if !l.changing || l.reading {
		return
	}
	l.changing, l.m = false, l.next
	switch l.phase {
	case claiming:
		l.openReplicas()
		l.settled()
	case recording:
		l.opened()
	case open:
		l.count()
		l.settled()
	}
}

// settled goes on after an answer about M. At most one question is open.
func (l *Leader) settled() {
	l.changing, l.reading = false, false
	if l.touched {
		l.touched = false
		l.read()
		return
	}
	l.recordReturned()
	l.followTarget()
}

// lookAgain reads M, which somebody else may have changed. While the session is
// being opened, the next compare-and-set would find that out too (rule 1), but it
// may never come: an attempt that waits for members which an operator has given up
// must hear of that.
func (l *Leader) lookAgain() {
	switch {
	case l.phase == loading: // about to be read
	case l.changing:
		l.touched = true
	default:
		l.read()
	}
}

func (l *Leader) read() {
	l.changing, l.reading = true, true
	l.emit(LoadM{})
}

// notChanged gives up the attempt: somebody else changed M, or we did and can't
// know (steps 1 and 5). An open session is not ended by the operator's changes.
func (l *Leader) notChanged() {
	if l.phase == open {
		l.read()
		return
	}
	if l.phase == claiming && mutant.On("lost-claim-taken-for-won") || l.phase == recording && mutant.On("lost-record-taken-for-won") {
		l.changed()
		return
	}
	l.end(ErrChanged)
}

// openReplicas asks all of members ∪ target, of the M that the claim wrote
// (rule 1), for their promise.
func (l *Leader) openReplicas() {
	l.phase = choosing
	for _, storage := range l.m.Replicas() {
		r := &replica{storage: storage}
		l.replicas = append(l.replicas, r)
		l.openReplica(r)
	}
}

// Append takes note of records first..last that are about to be sent to the
// replicas. It is an error unless the session is open and first follows.
func (l *Leader) Append(first, last txn.ID) error {
	if l.phase != open || first != l.last+1 || last < first {
		return fmt.Errorf("append %d to %d to partition %d in session %d: the log ends at %d (open: %t)",
			first, last, l.partition, l.session, l.last, l.phase == open)
	}
	l.logMap = l.logMap.Extend(l.session, first)
	l.last = last
	return nil
}

// Appended takes a storage's answer, which may move Committed. Answers of another
// incarnation or start than the last opened one are ignored (rule 3). The
// outputs, most often none, are those of a replica that has caught up. Step may
// move Committed too, when such a replica begins to count.
func (l *Leader) Appended(storage string, a Appended) []Output {
	r := l.replica(storage)
	if l.phase != open || r == nil || !r.is(a.Replica) || r.step < taking || a.Last > l.last {
		return nil
	}
	r.last = max(r.last, a.Last)
	if r.step == counted {
		l.commit()
		return nil
	}
	l.out = l.out[:0]
	l.recordReturned()
	return l.out
}

// commit moves the committed end to what a majority of members has answered.
// Members that don't count now stand for nothing.
func (l *Leader) commit() {
	l.answered = l.answered[:0]
	for _, m := range l.m.Members {
		id := txn.None
		if r := l.replica(m.Storage); r != nil && (r.step == counted || r.step == taking && mutant.On("late-replica-counted-early")) {
			id = r.last
		}
		l.answered = append(l.answered, id)
	}
	if mutant.On("learner-counted") {
		for _, r := range l.replicas {
			if l.newcomer(r.storage) && r.step == taking {
				l.answered = append(l.answered, r.last)
			}
		}
	}
	l.committed = max(l.committed, quorum.Committed(l.answered))
}

// Alive reports whether a majority of members, and while opening of the target
// too, takes part or is on its way: whether the session can get on without those
// that have failed. One that failed must have answered again. In the choice a
// member takes part that has a vote, or was not asked in vain yet.
func (l *Leader) Alive() bool {
	if l.phase < choosing {
		return true
	}
	members := l.memberNames()
	membersAlive := quorum.Reached(l.alive(members, l.phase == choosing), len(members))
	if l.phase >= open {
		return membersAlive
	}
	// Once the log is chosen the old members have done their part.
	chosen := l.phase > choosing || len(members) == 0
	targets := l.targets()
	return quorum.Reached(l.alive(targets, false), len(targets)) && (chosen || membersAlive)
}

// Majority reports whether a majority of the members of an open session fulfils
// a condition.
func (l *Leader) Majority(fulfils func(storage string) bool) bool {
	have := 0
	for _, m := range l.m.Members {
		if fulfils(m.Storage) {
			have++
		}
	}
	return quorum.Reached(have, len(l.m.Members))
}

// alive counts the storages that have answered, with a vote if so wanted, or were
// not asked in vain yet.
func (l *Leader) alive(storages []string, voting bool) int {
	have := 0
	for _, storage := range storages {
		r := l.replica(storage)
		switch {
		case r == nil:
		case r.step == opening && !r.again, !voting && r.step > opening, voting && l.votes(r):
			have++
		}
	}
	return have
}
