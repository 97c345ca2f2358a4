package history

import (
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/txn"
)

// TestTightenChangesNoVerdict: porcupine says of small windows, possible and
// impossible ones, the same with narrowed times as without.
func TestTightenChangesNoVerdict(t *testing.T) {
	verdicts := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		b := builder{first: txn.ID(rapid.IntRange(0, 2).Draw(t, "first")), last: map[lock]txn.ID{}}
		drawWindow(t, &b)
		plain := b.plain()
		want := porcupine.CheckOperations(plain.model(), plain.operations)
		tight := b.plain()
		got := b.tighten(tight.operations) && porcupine.CheckOperations(tight.model(), tight.operations)
		require.Equal(t, want, got)
		verdicts[want]++
	})
	require.NotZero(t, verdicts[true], "no possible history was drawn")
	require.NotZero(t, verdicts[false], "no impossible history was drawn")
}

// plain is the window before its times are narrowed.
func (b *builder) plain() window {
	copied := *b
	copied.last = map[lock]txn.ID{}
	w := window{first: b.first, start: state{next: b.first}, operations: slices.Clone(b.looks)}
	numbers := make(map[lock]int)
	for i, o := range b.committed {
		w.operations = append(w.operations, o.operation(numbers, answer{Committed, b.first + txn.ID(i)}))
	}
	for _, o := range b.refused {
		w.operations = append(w.operations, o.operation(numbers, answer{Conflict, o.ID}))
	}
	w.start.last = slices.Repeat([]txn.ID{txn.None}, len(numbers))
	return w
}

func drawWindow(t *rapid.T, b *builder) {
	interval := func(around int) (int64, int64) {
		from := int64(around - rapid.IntRange(0, 4).Draw(t, "before"))
		return from, from + int64(rapid.IntRange(1, 8).Draw(t, "length"))
	}
	commits := rapid.IntRange(1, 5).Draw(t, "commits")
	for i := range commits {
		o := &Op{Mark: b.first + txn.ID(i) - 1, Outcome: Committed, ID: b.first + txn.ID(i), Locks: drawLocks(t)}
		o.Invoked, o.Returned = interval(3 * i)
		b.committed = append(b.committed, o)
	}
	for range rapid.IntRange(0, 4).Draw(t, "refusals") {
		at := rapid.IntRange(0, commits-1).Draw(t, "cause")
		o := &Op{Mark: b.first - 1, Outcome: Conflict, ID: b.first + txn.ID(at), Locks: drawLocks(t)}
		o.Invoked, o.Returned = interval(3 * at)
		b.refused = append(b.refused, o)
	}
	for range rapid.IntRange(0, 2).Draw(t, "looks") {
		at := rapid.IntRange(-1, commits-1).Draw(t, "seen")
		from, to := interval(3 * at)
		b.looks = append(b.looks, porcupine.Operation{
			Input: call{look: true}, Call: from, Output: answer{id: b.first + txn.ID(at)}, Return: to,
		})
	}
}

func drawLocks(t *rapid.T) []txn.Lock {
	var locks []txn.Lock
	for range rapid.IntRange(1, 2).Draw(t, "locks") {
		locks = append(locks, txn.Lock{
			Hash: txn.LockHash(rapid.IntRange(1, 2).Draw(t, "lock")), Mode: txn.LockMode(rapid.IntRange(1, 3).Draw(t, "mode")),
		})
	}
	return locks
}
