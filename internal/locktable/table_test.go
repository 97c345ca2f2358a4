package locktable

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/waltz-log/waltz/internal/txn"
	"pgregory.net/rapid"
)

// model is the lock table as one would write it at first: a list of all marks,
// walked from end to end.
type model struct {
	transactionsMax, marksMax int
	marks                     []mark
}

// forgotten says how many of the oldest marks are forgotten.
func (m *model) forgotten() int {
	n := max(0, len(m.marks)-m.marksMax)
	for n < len(m.marks) && m.marks[n].id <= m.marks[len(m.marks)-1].id-txn.ID(m.transactionsMax) {
		n++
	}
	return n
}

func (m *model) floor() txn.ID {
	if n := m.forgotten(); n > 0 {
		return m.marks[n-1].id
	}
	return txn.None
}

func (m *model) check(locks []txn.Lock, hwm txn.ID) (Verdict, txn.ID) {
	checks, cause := false, txn.None
	for _, l := range locks {
		checks = checks || l.Mode != txn.LockAppend
		for _, k := range m.marks[m.forgotten():] {
			if l.Mode != txn.LockAppend && k.hash == l.Hash {
				cause = max(cause, k.id)
			}
		}
	}
	switch {
	case cause > hwm:
		return Conflict, cause
	case checks && hwm < m.floor():
		return Stale, m.floor()
	}
	return OK, txn.None
}

func (m *model) take(locks []txn.Lock, id txn.ID) {
	for _, l := range locks {
		if l.Mode != txn.LockRead {
			m.marks = append(m.marks, mark{l.Hash, id})
		}
	}
}

func locks(n uint64) *rapid.Generator[[]txn.Lock] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) txn.Lock {
		return txn.Lock{
			Hash: txn.LockHash(rapid.Uint64Range(0, n).Draw(t, "lock")),
			Mode: rapid.SampledFrom([]txn.LockMode{txn.LockRead, txn.LockWrite, txn.LockAppend}).Draw(t, "mode"),
		}
	}), 0, 4)
}

// TestTableIsExact is I5 for the remembered past, and says what is not.
func TestTableIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		transactionsMax := rapid.IntRange(1, 200).Draw(t, "transactions max")
		marksMax := rapid.IntRange(1, 200).Draw(t, "marks max")
		gen := locks(rapid.SampledFrom([]uint64{2, 20, 1 << 60}).Draw(t, "locks"))
		table, m := New(transactionsMax, marksMax, txn.None), &model{transactionsMax: transactionsMax, marksMax: marksMax}
		next := txn.ID(0)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			l := gen.Draw(t, "locks")
			hwm := next - 1 - txn.ID(rapid.IntRange(0, min(int(next), 250)).Draw(t, "behind"))
			require.Equal(t, m.floor(), table.Floor())
			wantV, wantID := m.check(l, hwm)
			v, id := table.Check(l, hwm)
			require.Equal(t, wantV, v)
			require.Equal(t, wantID, id)
			if v == OK {
				table.Take(l, next)
				m.take(l, next)
				next++
			}
		}
		require.LessOrEqual(t, table.Marks(), marksMax)
	})
}

func TestModes(t *testing.T) {
	const a = txn.LockHash(7)
	lock := func(m txn.LockMode) []txn.Lock { return []txn.Lock{{Hash: a, Mode: m}} }
	for _, c := range []struct {
		first, second txn.LockMode
		want          Verdict
	}{
		{txn.LockRead, txn.LockRead, OK},
		{txn.LockRead, txn.LockWrite, OK},
		{txn.LockRead, txn.LockAppend, OK},
		{txn.LockWrite, txn.LockRead, Conflict},
		{txn.LockWrite, txn.LockWrite, Conflict},
		{txn.LockWrite, txn.LockAppend, OK},
		{txn.LockAppend, txn.LockRead, Conflict},
		{txn.LockAppend, txn.LockWrite, Conflict},
		{txn.LockAppend, txn.LockAppend, OK},
	} {
		t.Run(c.first.String()+" then "+c.second.String(), func(t *testing.T) {
			table := New(10, 10, txn.None)
			table.Take(lock(c.first), 3)
			v, id := table.Check(lock(c.second), 2)
			require.Equal(t, c.want, v)
			if v == Conflict {
				require.Equal(t, txn.ID(3), id)
			}
			v, _ = table.Check(lock(c.second), 3)
			require.Equal(t, OK, v, "a client that has seen transaction 3 doesn't conflict with it")
		})
	}
}

func TestIdleTableIsSmall(t *testing.T) {
	table := New(1<<17, 1<<19, txn.None)
	require.Zero(t, table.Bytes())
	table.Mark(1, 0)
	require.Less(t, table.Bytes(), 4<<10)
}

func TestFullTableDoesNotAllocate(t *testing.T) {
	table := New(1<<10, 1<<12, txn.None)
	l, id := make([]txn.Lock, 4), txn.ID(0)
	step := func() {
		for i := range l {
			l[i] = txn.Lock{Hash: txn.HashLock("account", uint64(id)*4+uint64(i)), Mode: txn.LockWrite}
		}
		table.Check(l, id-1)
		table.Take(l, id)
		id++
	}
	for range 1 << 12 {
		step()
	}
	require.Zero(t, testing.AllocsPerRun(1000, step))
	require.Equal(t, 1<<12, table.Marks())
}

func BenchmarkCheckAndTake(b *testing.B) {
	for _, accounts := range []uint64{100, 10_000, 10_000_000} {
		b.Run("accounts="+txn.ID(accounts).String(), func(b *testing.B) {
			table := New(1<<17, 1<<19, txn.None)
			l := make([]txn.Lock, 1)
			x, id := uint64(1), txn.ID(0)
			step := func() {
				x = x*6364136223846793005 + 1442695040888963407
				l[0] = txn.Lock{Hash: txn.HashLock("account", x>>33%accounts), Mode: txn.LockWrite}
				table.Check(l, id-1)
				table.Take(l, id)
				id++
			}
			for range 1 << 18 {
				step()
			}
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}
