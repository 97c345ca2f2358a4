package history

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/waltz-log/waltz/internal/txn"
)

// CheckLinear asks porcupine whether a partition's appends and looks at its
// high-water mark could have happened one after the other, each at one moment
// between its call and its return. The object is an append with locks: its
// state is the next ID and, for each lock, the transaction that last marked it.
//
// The search is exponential where it fails, so the history is cut by ID into
// windows of at most size operations, and their times are narrowed first, to what
// the log's order leaves of them. A refusal goes with its cause: it
// happened between it and the next mark of the same lock, so that it fits into
// the cause's window if it fits anywhere. Answers of stale are left to
// [History.Check]. timeout bounds the search of one window; a window that
// takes longer is an error too.
func CheckLinear(h *History, p txn.Partition, size int, timeout time.Duration) error {
	c := checker{History: h, at: make(map[string]place), known: make(map[string]*Op, len(h.Ops))}
	c.index()
	for n, w := range c.windows(p, size) {
		result := porcupine.Illegal
		if !w.impossible {
			result = porcupine.CheckOperationsTimeout(w.model(), w.operations, timeout)
		}
		if result != porcupine.Ok {
			c.breach(Linear, p, w.first, "window %d of %d operations from here: porcupine says %s", n, len(w.operations), result)
		}
	}
	if len(c.found) > 0 {
		return c.found
	}
	return nil
}

// window is a stretch of the log with the operations that belong to it.
type window struct {
	first      txn.ID
	start      state
	operations []porcupine.Operation
	impossible bool // no order fits the times; needs no search
}

// state is the model's: it is never changed, only replaced.
type state struct {
	next txn.ID
	last []txn.ID // by number of the lock; None: never marked
}

// call and answer are the model's input and output.
type call struct {
	look          bool
	mark          txn.ID
	checks, marks []int // numbers of locks
}

type answer struct {
	outcome Outcome
	id      txn.ID
}

// windows cuts a partition's history by ID.
func (c *checker) windows(p txn.Partition, size int) []window {
	var (
		out     []window
		refused = c.refusals(p)
		looks   = c.looksAt(p)
		b       = builder{last: make(map[lock]txn.ID), looks: looks[txn.None]}
	)
	for i := range c.Logs[p] {
		id := txn.ID(i)
		o := c.op(p, id)
		if o == nil { // nobody's: Check says so
			o = &Op{Mark: txn.None, Invoked: math.MinInt64, Returned: Pending}
		}
		group := 1 + len(refused[id]) + len(looks[id])
		if b.size() > 0 && b.size()+group > size {
			out = append(out, b.window())
			b = builder{last: b.last, first: id}
		}
		b.committed = append(b.committed, o)
		b.looks = append(b.looks, looks[id]...)
		b.refused = append(b.refused, refused[id][:min(len(refused[id]), max(0, size-b.size()))]...)
	}
	return append(out, b.window())
}

// builder collects what belongs to a window. Locks are numbered for each window
// anew, so that states are small however many locks the history has.
type builder struct {
	first     txn.ID
	last      map[lock]txn.ID // marks before the window
	committed []*Op           // from first on
	refused   []*Op
	looks     []porcupine.Operation
}

func (b *builder) size() int { return len(b.committed) + len(b.refused) + len(b.looks) }

// window also takes the marks of its transactions over, for the next one.
func (b *builder) window() window {
	numbers := make(map[lock]int)
	w := window{first: b.first, start: state{next: b.first}, operations: b.looks}
	for i, o := range b.committed {
		w.operations = append(w.operations, o.operation(numbers, answer{Committed, b.first + txn.ID(i)}))
	}
	for _, o := range b.refused {
		w.operations = append(w.operations, o.operation(numbers, answer{Conflict, o.ID}))
	}
	w.start.last = make([]txn.ID, len(numbers))
	for l, n := range numbers {
		w.start.last[n] = txn.None
		if id, marked := b.last[l]; marked {
			w.start.last[n] = id
		}
	}
	w.impossible = !b.tighten(w.operations)
	for i, o := range b.committed {
		for _, l := range o.marks() {
			b.last[l] = b.first + txn.ID(i)
		}
	}
	return w
}

func (c *checker) refusals(p txn.Partition) map[txn.ID][]*Op {
	out := make(map[txn.ID][]*Op)
	for i := range c.Ops {
		if o := &c.Ops[i]; o.Partition == p && o.Outcome == Conflict {
			out[o.ID] = append(out[o.ID], o)
		}
	}
	return out
}

func (c *checker) looksAt(p txn.Partition) map[txn.ID][]porcupine.Operation {
	out := make(map[txn.ID][]porcupine.Operation)
	for _, l := range c.Looks {
		if l.Partition == p {
			out[l.Mark] = append(out[l.Mark], porcupine.Operation{
				Input: call{look: true}, Call: l.Invoked, Output: answer{id: l.Mark}, Return: l.Returned,
			})
		}
	}
	return out
}

func (o *Op) operation(numbers map[lock]int, a answer) porcupine.Operation {
	in := call{mark: o.Mark, checks: o.number(numbers, o.checks()), marks: o.number(numbers, o.marks())}
	return porcupine.Operation{Input: in, Call: o.Invoked, Output: a, Return: o.Returned}
}

// number gives each lock a number, its place in state.last.
func (o *Op) number(numbers map[lock]int, locks []lock) []int {
	var out []int
	for _, l := range locks {
		n, seen := numbers[l]
		if !seen {
			n = len(numbers)
			numbers[l] = n
		}
		out = append(out, n)
	}
	return out
}

// after is the state once transaction id has been committed.
func (s state) after(id txn.ID, marks []int) state {
	next := state{next: id + 1, last: s.last}
	if len(marks) > 0 {
		next.last = slices.Clone(s.last)
	}
	for _, m := range marks {
		next.last[m] = id
	}
	return next
}

func (w *window) model() porcupine.Model {
	return porcupine.Model{
		Init:  func() any { return w.start },
		Step:  func(s, in, out any) (bool, any) { return step(s.(state), in.(call), out.(answer)) },
		Equal: func(a, b any) bool { return a.(state).equal(b.(state)) },
		DescribeOperation: func(in, out any) string {
			return fmt.Sprintf("%+v -> %+v", in, out)
		},
	}
}

func (s state) equal(o state) bool { return s.next == o.next && slices.Equal(s.last, o.last) }

func step(s state, in call, out answer) (bool, state) {
	if in.look {
		return out.id == s.next-1, s
	}
	conflicts := func(lock int) bool { return s.last[lock] > in.mark }
	if out.outcome == Conflict {
		return slices.ContainsFunc(in.checks, func(l int) bool { return conflicts(l) && s.last[l] == out.id }), s
	}
	if out.id != s.next || slices.ContainsFunc(in.checks, conflicts) {
		return false, s
	}
	return true, s.after(out.id, in.marks)
}
