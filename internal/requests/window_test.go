package requests

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/waltz-log/waltz/internal/txn"
	"pgregory.net/rapid"
)

func request(n uint64) (r txn.RequestID) {
	binary.LittleEndian.PutUint64(r[8:], n)
	return r
}

// TestWindowIsAMapOfTheTail checks the window against a slice of all requests.
func TestWindowIsAMapOfTheTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := 1 << rapid.IntRange(0, 8).Draw(t, "size")
		start := txn.ID(rapid.Int64Range(0, 1000).Draw(t, "start"))
		w := New(size, start)
		require.Equal(t, start-1, w.Floor())
		n := rapid.IntRange(0, 600).Draw(t, "added")
		for i := range n {
			w.Add(request(uint64(i)))
			require.Equal(t, start+txn.ID(i)+1, w.Next())
		}
		oldest := max(0, n-size)
		require.Equal(t, start+txn.ID(oldest)-1, w.Floor())
		for i := range n {
			id, ok := w.Lookup(request(uint64(i)))
			require.Equal(t, i >= oldest, ok)
			if ok {
				require.Equal(t, start+txn.ID(i), id)
			}
		}
		_, ok := w.Lookup(request(uint64(n)))
		require.False(t, ok)
	})
}

// TestWindowHoldsTheSameRequestTwice: a log should never hold one twice (I4),
// but a window that is rebuilt from one that does must not fall over it.
func TestWindowHoldsTheSameRequestTwice(t *testing.T) {
	w := New(2, 0)
	for range 5 {
		w.Add(request(1))
	}
	id, ok := w.Lookup(request(1))
	require.True(t, ok)
	require.GreaterOrEqual(t, id, txn.ID(3))
}

func TestIdleWindowIsSmall(t *testing.T) {
	w := New(1<<17, 0)
	require.Zero(t, w.Bytes())
	w.Add(request(1))
	require.Less(t, w.Bytes(), 4<<10)
}

func TestFullWindowDoesNotAllocate(t *testing.T) {
	w := New(1<<10, 0)
	n := uint64(0)
	step := func() {
		w.Lookup(request(n))
		w.Add(request(n))
		n++
	}
	for range 1 << 12 {
		step()
	}
	require.Zero(t, testing.AllocsPerRun(1000, step))
}

func BenchmarkLookupAndAdd(b *testing.B) {
	w := New(1<<17, 0)
	x := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		x = x*6364136223846793005 + 1442695040888963407
		r := request(x)
		w.Lookup(r)
		w.Add(r)
	}
}
