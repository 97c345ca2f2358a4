package session

import (
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/txn"
)

// replica is what the leader knows of one replica.
type replica struct {
	storage string
	step    step
	promise Promise // of its last answer to Open
	last    txn.ID  // where its log ends, durably
	goal    txn.ID  // where it will be when it is installed
	floor   txn.ID  // it must hold this before it counts (rule 4)
	inNext  bool    // the unanswered ChangeM records it
	near    bool    // a newcomer: its last copy brought it to the committed end
	again   bool    // it failed before it was opened this time
	why     error   // what it was said to be unfit for
}

// step is how far a replica has come. The order matters.
type step uint8

const (
	away     step = iota // failed; nothing is under way
	unfit                // answered, and cannot take part
	opening              // Open was sent
	promised             // waits for the choice, or is no target
	truncating
	copying
	learned // a newcomer that was copied to; waits for the others
	installingReplica
	taking  // takes appends, but does not count yet
	counted // M records that it installed the session
)

func (l *Leader) replica(storage string) *replica {
	for _, r := range l.replicas {
		if r.storage == storage {
			return r
		}
	}
	return nil
}

// bound returns the replica if it is at a step and the answer is its present
// incarnation's and start's (rule 3).
func (l *Leader) bound(storage string, from Replica, at step) *replica {
	r := l.replica(storage)
	if r == nil || r.step != at || !r.is(from) {
		return nil
	}
	return r
}

// is reports whether an answer is from the replica as it was last opened (rule 3).
func (r *replica) is(from Replica) bool {
	if mutant.On("answers-not-bound-to-start") {
		return r.promise.Replica.Incarnation == from.Incarnation
	}
	return r.promise.Replica == from
}

func (l *Leader) openReplica(r *replica) {
	*r = replica{storage: r.storage, step: opening, last: txn.None}
	l.emit(SendOpen{Storage: r.storage, Message: Open{Partition: l.partition, Session: l.session}})
}

func (l *Leader) retry(storage string) {
	if r := l.replica(storage); r != nil && r.step <= unfit && l.wanted(storage) {
		l.openReplica(r)
		r.again = true
	}
}

// failed puts a replica aside. A refusal that names a higher session ends ours.
func (l *Leader) failed(e Failed) {
	r := l.replica(e.Storage)
	if r == nil {
		return
	}
	if why, _ := Refused(e.Err); why == Fenced {
		l.end(fmt.Errorf("%w: %w", ErrFenced, e.Err))
		return
	}
	r.step, r.near = away, false
	if l.source == r && l.phase < open {
		if mutant.On("two-choices-per-session") {
			l.source, l.replicas, l.high = nil, nil, txn.None
			l.openReplicas()
			return
		}
		l.end(fmt.Errorf("%w: storage %s: %w", ErrSourceLost, r.storage, e.Err))
	}
}

// promised takes a promise: a vote before the choice, a replica to be brought
// in after it.
func (l *Leader) promised(e Promised) {
	r := l.replica(e.Storage)
	if r == nil || r.step != opening || e.Promise.Promised != l.session {
		return
	}
	r.promise, r.last, r.step = e.Promise, e.Promise.Last, promised
	r.promise.Map = e.Promise.Map
	r.floor = l.committed // None until the session is open
	if mutant.On("late-replica-without-floor") {
		r.floor = txn.None
	}
	l.judge(r)
	if l.phase == choosing {
		l.choose()
		return
	}
	l.bringIn(r)
}

// choose adopts the log with the greatest (installed, last ID) among a majority
// of members, once; without members the log is empty (step 3).
func (l *Leader) choose() {
	var votes []*replica
	for _, r := range l.replicas {
		if l.votes(r) {
			votes = append(votes, r)
		}
	}
	voters := len(l.m.Members)
	if mutant.On("majority-of-target") {
		voters = len(l.m.Target)
	}
	if len(l.m.Members) > 0 && !quorum.Reached(len(votes), voters) {
		l.giveUpIfAllAnswered()
		return
	}
	for _, r := range votes {
		if l.source == nil || better(r.promise, l.source.promise) {
			l.source = r
		}
	}
	if l.source != nil {
		l.high, l.logMap = l.source.promise.Last, Map(l.source.promise.Map).Clone()
	}
	l.last, l.phase = l.high, installing
	for _, r := range l.replicas {
		l.bringIn(r)
	}
	l.giveUpIfAllAnswered()
}

func better(a, b Promise) bool {
	if a.Installed != b.Installed && !mutant.On("longest-log-wins") {
		return a.Installed > b.Installed
	}
	return a.Last > b.Last
}

// bringIn makes a promised replica of the target ready to be installed: cut to
// where it agrees with the log (step 4). One that installed this session before
// it restarted keeps what it has, and catches up by appends.
func (l *Leader) bringIn(r *replica) {
	switch {
	case r.step != promised:
		return
	case l.newcomer(r.storage):
		r.goal = l.committed
	case !slices.Contains(l.targets(), r.storage):
		return
	case r.promise.Installed == l.session:
		l.install(r)
		return
	default:
		r.goal = max(l.high, r.floor)
	}
	agreed := Agreement(l.logMap, r.goal, r.promise.Map, r.promise.Last)
	if mutant.On("truncate-below-agreement") {
		agreed = min(agreed, r.promise.Committed)
	}
	if agreed < r.promise.Committed && !mutant.On("truncate-below-committed") {
		l.reject(r, givenUp(r.promise, agreed, l.partition))
		return
	}
	if agreed < r.promise.Last {
		r.step, r.last = truncating, agreed
		l.emit(SendTruncate{Storage: r.storage, Message: Truncate{
			Partition: l.partition, Session: l.session, Replica: r.promise.Replica, Last: agreed,
		}})
		return
	}
	l.copyTo(r)
}

func (l *Leader) truncated(e Truncated) {
	if r := l.bound(e.Storage, e.Replica, truncating); r != nil {
		l.copyTo(r)
	}
}

func (l *Leader) copied(e Copied) {
	r := l.bound(e.Storage, e.Replica, copying)
	if r == nil || e.Last <= r.last || e.Last > r.goal {
		return
	}
	r.last = e.Last
	if l.newcomer(r.storage) {
		l.learn(r)
		return
	}
	l.copyTo(r)
}

// copyTo copies what a replica is missing. If that is nothing it installs it, or
// takes note of it if it is no member.
func (l *Leader) copyTo(r *replica) {
	if !l.wanted(r.storage) {
		r.step, r.near = away, false // the target was changed meanwhile
		return
	}
	if r.last >= r.goal || mutant.On("learner-installed-behind") && l.phase < open && !l.remembered(r) && r.last > txn.None {
		if l.newcomer(r.storage) {
			l.learn(r)
			return
		}
		l.install(r)
		return
	}
	from := l.copySource(r)
	if from == "" {
		l.reject(r, ErrNoSource)
		return
	}
	r.step = copying
	l.emit(SendCopy{
		Storage: r.storage, From: from, First: r.last + 1, Last: r.goal,
		Message: Copy{
			Partition: l.partition, Session: l.session, Replica: r.promise.Replica,
			PrevID: r.last, PrevStamp: l.logMap.StampAt(r.last),
		},
	})
}

// copySource returns a storage that holds the log up to r's goal.
func (l *Leader) copySource(r *replica) string {
	if l.phase < open {
		return l.source.storage
	}
	for _, other := range l.replicas {
		if other != r && other.step == counted && other.last >= r.goal {
			return other.storage
		}
	}
	return ""
}

func (l *Leader) install(r *replica) {
	r.step = installingReplica
	if mutant.On("install-skipped") {
		l.installed(Installed{Storage: r.storage, Replica: r.promise.Replica})
		return
	}
	l.emit(SendInstall{Storage: r.storage, Message: Install{
		Partition: l.partition, Session: l.session, Replica: r.promise.Replica, Last: r.last,
	}})
}

// installed takes note of a replica that takes appends from now on; it counts
// when M says so, never before (rule 5).
func (l *Leader) installed(e Installed) {
	r := l.bound(e.Storage, e.Replica, installingReplica)
	if r == nil {
		return
	}
	r.step = taking
	switch l.phase {
	case installing:
		l.record()
	case open:
		l.emit(Ready{Storage: r.storage, Replica: r.promise.Replica, Last: r.last})
		l.recordReturned()
	}
}

// record writes the new members into M once a majority of the target has
// installed (step 5). Nothing is appended before that succeeded.
func (l *Leader) record() {
	have := 0
	for _, r := range l.replicas {
		if r.step == taking {
			have++
		}
	}
	if l.phase != installing || l.changing || !quorum.Reached(have, len(l.targets())) {
		return
	}
	next := l.m.Clone()
	next.Opened, next.Members = l.session, nil
	for _, storage := range l.targets() {
		next.Members = append(next.Members, l.asRecorded(l.asAnswered(storage)))
	}
	l.phase = recording
	if mutant.On("record-cas-skipped") {
		l.changing, l.next = true, next
		l.changed()
		return
	}
	l.change(next)
}

// asAnswered returns a storage of the target as a member that has not installed
// this session: by the incarnation that answered, or as M had it. Its vote is
// harmless, even if its disk was wiped, since those that installed are a majority
// and outrank it; without one, a newcomer could not help the next session to open.
func (l *Leader) asAnswered(storage string) Member {
	m, ok := l.m.Member(storage)
	if !ok {
		m = Member{Storage: storage}
	}
	r := l.replica(storage)
	if r != nil && r.step >= promised && r.promise.Replica.Incarnation != m.Incarnation {
		m.Incarnation, m.Installed = r.promise.Replica.Incarnation, 0
	}
	return m
}

// asRecorded returns a member as M should remember it: as it is, unless it has
// installed this session. Once the session is open a wiped disk is not
// recorded before it holds again what it must (rules 4 and 5).
func (l *Leader) asRecorded(m Member) Member {
	if r := l.replica(m.Storage); r != nil && r.recordable() {
		r.inNext = true
		m.Incarnation, m.Installed = r.promise.Replica.Incarnation, l.session
	}
	return m
}

// recordable reports whether a replica may be counted once M says so: it has
// installed and holds what was committed when it was opened (rules 4 and 5).
func (r *replica) recordable() bool { return r.step == taking && r.last >= r.floor }

// opened begins the open session (step 6).
func (l *Leader) opened() {
	l.phase, l.committed = open, l.high
	l.emit(Opened{High: l.high, HighStamp: l.logMap.StampAt(l.high)})
	for _, r := range l.replicas {
		if r.step == taking {
			l.emit(Ready{Storage: r.storage, Replica: r.promise.Replica, Last: r.last})
		}
	}
	l.count()
	l.settled()
}

// count lets those count that the M just written records. A replica that failed
// meanwhile has begun anew, and is recorded anew (rule 3).
func (l *Leader) count() {
	for _, r := range l.replicas {
		if r.inNext && r.step == taking {
			r.step, r.inNext = counted, false
		}
	}
	l.commit()
}

// recordReturned writes into M the replicas that came back, or came late, and
// hold by now what they must (rules 3 to 5).
func (l *Leader) recordReturned() {
	if l.phase != open || l.changing || !slices.ContainsFunc(l.replicas, (*replica).recordable) {
		return
	}
	next := l.m.Clone()
	for i, m := range next.Members {
		next.Members[i] = l.asRecorded(m)
	}
	l.change(next)
}
