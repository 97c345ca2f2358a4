package history

import (
	"cmp"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"
)

// tighten narrows the intervals of a window's operations to the moments that
// the log's order leaves them, and puts calls that remain equal into an order in
// which a search that takes the earliest first succeeds at once. It changes
// neither which orders are possible nor whether one is: transactions happened in
// the order of their IDs, and a refusal or a look between two of them. Without
// it the search tries the subsets of all refusals that were under way at once,
// 2³⁶ for 36 callers.
//
// It reports false, with nothing changed, if no order is possible: somebody
// returned before somebody was called who came earlier.
func (b *builder) tighten(operations []porcupine.Operation) bool {
	n := len(b.committed)
	from, to := make([]int64, n+1), make([]int64, n+1) // the n-th stands for "after the window"
	for i, o := range b.committed {
		from[i], to[i] = o.Invoked, o.Returned
	}
	from[n], to[n] = math.MinInt64, math.MaxInt64
	between := make([][2]int, len(operations)) // of what changes nothing: after [0] and before [1]
	ends := b.ends(operations)
	for i, op := range operations {
		a, z, reads := b.between(op, ends)
		between[i] = [2]int{a, z}
		if !reads {
			continue
		}
		if a >= 0 {
			to[a] = min(to[a], op.Return)
		}
		from[z] = max(from[z], op.Call)
	}
	for i := 1; i <= n; i++ {
		from[i] = max(from[i], from[i-1])
	}
	for i := n - 1; i >= 0; i-- {
		to[i] = min(to[i], to[i+1])
	}
	for i := range n {
		if from[i] > to[i] {
			return false
		}
	}
	for i := range operations {
		op, a, z := &operations[i], between[i][0], between[i][1]
		if op.Output.(answer).outcome == Committed {
			op.Call, op.Return = from[z], to[z]
			continue
		}
		if a >= 0 {
			op.Call = max(op.Call, from[a])
		}
		op.Return = min(op.Return, to[z])
	}
	rank(operations, between)
	return true
}

// between returns the places in the log between which an operation that
// changes nothing happened, -1 and len(b.committed) being outside of the window;
// of a transaction, its own place. reads tells them apart. A refusal that no
// state allows may have been anywhere: the search says no to it.
func (b *builder) between(op porcupine.Operation, ends map[refusal]int) (after, before int, reads bool) {
	out := op.Output.(answer)
	at := int(out.id - b.first)
	switch {
	case out.outcome == Committed:
		return at - 1, at, false
	case op.Input.(call).look:
		return at, at + 1, true
	}
	end := at
	for _, l := range op.Input.(call).checks {
		if z, marked := ends[refusal{l, at}]; marked {
			end = max(end, z)
		}
	}
	if end == at {
		return -1, len(b.committed), true
	}
	return at, end, true
}

// refusal is why one may be refused: a lock, and the place of who marked it.
type refusal struct{ lock, by int }

// ends returns where each mark of a lock in the window is replaced by the next.
func (b *builder) ends(operations []porcupine.Operation) map[refusal]int {
	ends, last := make(map[refusal]int), make(map[int]int)
	for _, op := range operations { // those of transactions are in the order of the log
		if op.Output.(answer).outcome != Committed {
			continue
		}
		at := int(op.Output.(answer).id - b.first)
		for _, l := range op.Input.(call).marks {
			if by, marked := last[l]; marked && by != at {
				ends[refusal{l, by}] = at
			}
			last[l] = at
			ends[refusal{l, at}] = len(b.committed)
		}
	}
	return ends
}

// rank replaces times by places in one order of all calls and returns, where
// equal times are put so: calls before returns, and calls in the order of the log.
func rank(operations []porcupine.Operation, between [][2]int) {
	type event struct {
		time *int64
		at   int64
		ret  int
		pos  int // twice the place in the log, and one less for what happened before it
	}
	events := make([]event, 0, 2*len(operations))
	for i := range operations {
		op := &operations[i]
		pos := 2 * between[i][1]
		if op.Output.(answer).outcome != Committed {
			pos = 2*between[i][0] + 1
		}
		events = append(events, event{&op.Call, op.Call, 0, pos}, event{&op.Return, op.Return, 1, pos})
	}
	slices.SortStableFunc(events, func(a, b event) int {
		switch {
		case a.at != b.at:
			return cmp.Compare(a.at, b.at)
		case a.ret != b.ret:
			return a.ret - b.ret
		}
		return a.pos - b.pos
	})
	for i, e := range events {
		*e.time = int64(i)
	}
}
