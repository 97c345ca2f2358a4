package quorum_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/txn"
)

// naive counts, for every ID that anyone answered, who has come so far.
func naive(answered []txn.ID) txn.ID {
	best := txn.None
	for _, candidate := range answered {
		have := 0
		for _, a := range answered {
			if a >= candidate {
				have++
			}
		}
		if 2*have > len(answered) && candidate > best {
			best = candidate
		}
	}
	return best
}

func TestCommittedIsWhatAMajorityAnswered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		answered := rapid.SliceOfN(rapid.Map(rapid.Int64Range(-1, 20), func(n int64) txn.ID { return txn.ID(n) }), 0, 11).Draw(t, "answered")
		before := append([]txn.ID(nil), answered...)
		require.Equal(t, naive(answered), quorum.Committed(answered))
		require.Equal(t, before, append([]txn.ID(nil), answered...))
	})
}

// P1 rests on this: what one majority answered, every other majority knows of.
func TestTwoMajoritiesShareAMember(t *testing.T) {
	for n := 1; n <= 9; n++ {
		require.Greater(t, 2*quorum.Majority(n), n)
		require.True(t, quorum.Reached(quorum.Majority(n), n))
		require.False(t, quorum.Reached(quorum.Majority(n)-1, n))
	}
	require.False(t, quorum.Reached(0, 0))
	require.False(t, quorum.Reached(1, 0))
}

func TestCommittedDoesNotAllocate(t *testing.T) {
	answered := []txn.ID{5, 3, 9, 4, 4}
	require.Zero(t, testing.AllocsPerRun(100, func() { quorum.Committed(answered) }))
}
