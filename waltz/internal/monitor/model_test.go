package monitor

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/txn"
)

// world drives a monitor against servers that commit for real: a request at
// most once (I4), and it remembers whatever answer got lost.
type world struct {
	t          *rapid.T
	m          *Monitor
	limits     Limits
	lanes      []*Lane
	open       []bool
	onWire     []map[uint64]*Attempt // by lane: what a server has and did not answer
	all        []*Attempt
	listening  map[*Attempt]bool
	committed  map[*Attempt]txn.ID
	maybe      map[*Attempt]bool // an answer was lost after the server had it
	answered   map[*Attempt]bool
	nextID     txn.ID
	partitions int
}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, limits: Limits{rapid.IntRange(1, 12).Draw(t, "attempts"), rapid.IntRange(1, 400).Draw(t, "bytes")},
		listening: map[*Attempt]bool{}, committed: map[*Attempt]txn.ID{}, maybe: map[*Attempt]bool{}, answered: map[*Attempt]bool{},
		partitions: 3,
	}
	w.m = New(w.partitions, w.limits)
	for range 2 {
		w.lanes = append(w.lanes, w.m.NewLane())
		w.open = append(w.open, false)
		w.onWire = append(w.onWire, map[uint64]*Attempt{})
	}
	return w
}

func (w *world) lane() int { return rapid.IntRange(0, len(w.lanes)-1).Draw(w.t, "lane") }

func (w *world) add() {
	a := &Attempt{Partition: txn.Partition(rapid.IntRange(0, w.partitions-1).Draw(w.t, "partition")), SentMark: w.nextID - 1}
	a.Body = make([]byte, rapid.IntRange(0, 200).Draw(w.t, "size"))
	w.m.Add(a)
	w.all = append(w.all, a)
	w.listening[a] = true
}

func (w *world) connect() {
	i := w.lane()
	if !w.open[i] {
		w.lanes[i].Open()
		w.open[i] = true
	}
}

func (w *world) send() {
	i := w.lane()
	max := rapid.IntRange(1, 500).Draw(w.t, "max")
	first, group := w.lanes[i].Next(max)
	if len(group) > 0 && !w.open[i] {
		w.t.Fatalf("sent without a stream")
	}
	size := 0
	for k, a := range group {
		size += a.size()
		if a.Unsure != w.maybe[a] && !a.Unsure {
			w.t.Fatalf("an attempt that may be committed is sent as new")
		}
		w.onWire[i][first+uint64(k)] = a
	}
	if size > max && len(group) > 1 {
		w.t.Fatalf("a group of %d has %d bytes, allowed are %d", len(group), size, max)
	}
}

// commit is what a server does with a request, however often it comes.
func (w *world) commit(a *Attempt) txn.ID {
	id, ok := w.committed[a]
	if !ok {
		id = w.nextID
		w.nextID++
		w.committed[a] = id
	}
	return id
}

func (w *world) pick() (i int, seq uint64, ok bool) {
	i = w.lane()
	var seqs []uint64
	for s := range w.onWire[i] {
		seqs = append(seqs, s)
	}
	if len(seqs) == 0 {
		return i, 0, false
	}
	low := seqs[0]
	for _, s := range seqs {
		low = min(low, s)
	}
	// Any may be answered; the draw must not depend on the map's order.
	seq = low + uint64(rapid.IntRange(0, 5).Draw(w.t, "seq"))
	_, ok = w.onWire[i][seq]
	return i, seq, ok
}

func (w *world) answer() {
	i, seq, ok := w.pick()
	if !ok {
		return
	}
	a := w.onWire[i][seq]
	delete(w.onWire[i], seq)
	w.must(w.lanes[i].Committed(seq, 1, a.Partition, w.commit(a)))
	w.done()
}

func (w *world) refuse() {
	i, seq, ok := w.pick()
	if !ok {
		return
	}
	a := w.onWire[i][seq]
	reason := rapid.SampledFrom([]Reason{NotOwner, Unavailable, StorageFull, ShuttingDown, 1}).Draw(w.t, "reason")
	if _, done := w.committed[a]; done && reason == 1 {
		return // no server refuses for good what it has committed
	}
	delete(w.onWire[i], seq)
	if reason == Unavailable {
		w.maybe[a] = true
		if rapid.Bool().Draw(w.t, "it was committed before") {
			w.commit(a)
		}
	}
	_, err := w.lanes[i].Refused(seq, Outcome{Reason: reason})
	w.must(err)
	w.done()
}

func (w *world) cut() {
	i := w.lane()
	for _, a := range w.onWire[i] {
		w.maybe[a] = true
	}
	for _, a := range w.all { // in a fixed order, for the draws
		for _, b := range w.onWire[i] {
			if a == b && rapid.Bool().Draw(w.t, "the server had committed it") {
				w.commit(a)
			}
		}
	}
	clear(w.onWire[i])
	w.lanes[i].Break()
	w.open[i] = false
}

func (w *world) route() {
	owners := make([]*Lane, w.partitions)
	for p := range owners {
		if k := rapid.IntRange(0, len(w.lanes)).Draw(w.t, "owner"); k < len(w.lanes) {
			owners[p] = w.lanes[k]
		}
	}
	w.m.Route(owners)
}

func (w *world) any() *Attempt {
	if len(w.all) == 0 {
		return nil
	}
	return w.all[rapid.IntRange(0, len(w.all)-1).Draw(w.t, "attempt")]
}

func (w *world) abandon() {
	a := w.any()
	if a == nil || !w.listening[a] {
		return
	}
	w.listening[a] = false
	if w.m.Abandon(a) == Dropped && !a.Unsure {
		if _, done := w.committed[a]; done {
			w.t.Fatalf("said not to be committed, but it is (I8)")
		}
	}
}

func (w *world) adopt() {
	a := w.any()
	if a == nil || w.listening[a] {
		return
	}
	w.listening[a] = true
	w.m.Adopt(a)
}

func (w *world) done() {
	for _, a := range w.m.TakeDone() {
		if w.answered[a] {
			w.t.Fatalf("answered twice")
		}
		w.answered[a] = true
		if a.Outcome.Reason == Accepted && a.Outcome.ID != w.committed[a] {
			w.t.Fatalf("answered as %d, committed as %d", a.Outcome.ID, w.committed[a])
		}
	}
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Fatalf("correct answer refused: %v", err)
	}
}

// check counts what is where, naively.
func (w *world) check(*rapid.T) {
	counts := map[State]int{}
	admitted, bytes := 0, 0
	for _, a := range w.all {
		counts[a.State]++
		if a.State == Waiting || a.State == Parked || a.State == Sent {
			admitted++
			bytes += a.size()
		}
		if w.answered[a] != (a.State == Answered) {
			w.t.Fatalf("state %d, answered %t", a.State, w.answered[a])
		}
		if w.listening[a] && a.State == Dropped {
			w.t.Fatalf("dropped although somebody listens")
		}
		if w.maybe[a] && !a.Unsure {
			w.t.Fatalf("sure of an attempt whose answer was lost (I8)")
		}
	}
	n, b := w.m.Unanswered()
	if n != admitted || b != bytes {
		w.t.Fatalf("books say %d attempts, %d bytes; there are %d, %d", n, b, admitted, bytes)
	}
	if n > 1 && (n > w.limits.Attempts || b > w.limits.Bytes) {
		w.t.Fatalf("%d attempts, %d bytes exceed the limits %v (I9)", n, b, w.limits)
	}
	if w.m.Held() != counts[Held] || n == 0 && counts[Held] > 0 {
		w.t.Fatalf("%d held, %d in the books", counts[Held], n)
	}
	waiting, out := w.m.Stalled(), 0
	for _, l := range w.lanes {
		waiting += l.Waiting()
		out += l.Out()
	}
	if waiting != counts[Waiting]+counts[Parked] || out != counts[Sent] {
		w.t.Fatalf("%d in queues, %d on streams; states %v", waiting, out, counts)
	}
}

// heal makes everything work and demands that every attempt ends.
func (w *world) heal() {
	w.m.Route([]*Lane{w.lanes[0], w.lanes[0], w.lanes[1]})
	for round := 0; ; round++ {
		if round > 10*len(w.all)+10 {
			w.t.Fatalf("no end after %d rounds", round)
		}
		w.m.Release()
		busy := false
		for i, l := range w.lanes {
			if !w.open[i] {
				l.Open()
				w.open[i] = true
			}
			first, group := l.Next(300)
			for k, a := range group {
				w.onWire[i][first+uint64(k)] = a
			}
			for seq, a := range w.onWire[i] {
				busy = true
				delete(w.onWire[i], seq)
				w.must(l.Committed(seq, 1, a.Partition, w.commit(a)))
			}
			w.done()
		}
		if !busy {
			break
		}
	}
	for i, a := range w.all {
		if w.listening[a] && a.State != Answered {
			w.t.Fatalf("attempt %d ends in state %d", i, a.State)
		}
	}
	w.check(w.t)
}

// I4, I8, I9 over any order of events.
func TestMonitorAgainstTheWorld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		action := func(f func()) func(*rapid.T) { return func(*rapid.T) { f() } }
		t.Repeat(map[string]func(*rapid.T){
			"add": action(w.add), "more": action(w.add), "connect": action(w.connect), "send": action(w.send), "send more": action(w.send),
			"answer": action(w.answer), "refuse": action(w.refuse), "cut": action(w.cut), "route": action(w.route),
			"release": action(w.m.Release), "abandon": action(w.abandon), "adopt": action(w.adopt), "": w.check,
		})
		w.heal()
	})
}

func ExampleMonitor() {
	m := New(1, Limits{Attempts: 10, Bytes: 1000})
	lane := m.NewLane()
	m.Route([]*Lane{lane})
	m.Add(&Attempt{Body: []byte("a")})
	lane.Open()
	lane.Next(1000)
	lane.Break() // the answer is lost
	lane.Open()
	_, group := lane.Next(1000)
	fmt.Println("sent again:", string(group[0].Body), "may be committed:", group[0].Unsure)
	// Output: sent again: a may be committed: true
}
