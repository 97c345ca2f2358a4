package sim

import (
	"context"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// How many schedules are run: some by default, many in a soak, and up to very
// many when a bug is planted, which ends the search.
const (
	schedulesDefault = 3_000
	schedulesSoak    = 1_000_000
	schedulesPlanted = 500_000
)

func schedules() uint64 {
	switch {
	case os.Getenv("WALTZ_MUTANT") != "":
		return schedulesPlanted
	case os.Getenv("WALTZ_SOAK") != "":
		return schedulesSoak
	}
	return schedulesDefault
}

// TestSchedules is P1 to P6 and I1 to I6 through schedules of trouble. A failing
// seed is told in its shortest form; go run ./scripts/sim -from SEED -v tells all
// of it.
func TestSchedules(t *testing.T) {
	failed, done := Search(context.Background(), 0, schedules(), runtime.GOMAXPROCS(0), nil)
	if failed != nil {
		require.NoError(t, failed.Err, failed.Transcript())
	}
	require.GreaterOrEqual(t, done.Messages, done.Schedules*messagesMin)
	require.GreaterOrEqual(t, done.Faults, done.Schedules*faultsMin)
	require.Less(t, done.Closed, done.Schedules/20, "most schedules make progress in the end")
	require.Greater(t, done.Learners.Joined, done.Schedules/2, "newcomers become members")
	require.Greater(t, done.Learners.Behind, done.Schedules/5, "some while they are behind")
	require.Greater(t, done.Learners.Disturbed, done.Schedules/10, "newcomers crash, or lose their disks")
	require.Greater(t, done.Learners.Abandoned, done.Schedules/20, "changes are given up")
	require.Greater(t, done.Forced, done.Schedules/50, "majorities are given up")
}

// A seed is the whole schedule: it replays exactly, from the seed as from its
// list of actions.
func TestSeedsReplay(t *testing.T) {
	for seed := range uint64(50) {
		first, again := Run(seed), Run(seed)
		require.Equal(t, first.Hash, again.Hash, "seed %d", seed)
		listed, lines := replay(first.setup, first.actions, true)
		require.Equal(t, first.Hash, listed.Hash, "seed %d from its actions, in words", seed)
		require.Equal(t, first.Messages, listed.Messages)
		require.NotEmpty(t, lines)
		require.GreaterOrEqual(t, first.Messages, messagesMin, "seed %d", seed)
		require.GreaterOrEqual(t, first.Faults, faultsMin, "seed %d", seed)
	}
}

// Every action means something in every state, so any sublist is a schedule.
func TestAnySublistIsASchedule(t *testing.T) {
	for seed := range uint64(50) {
		r := Run(seed)
		for _, part := range [][]action{nil, r.actions[:len(r.actions)/2], r.actions[len(r.actions)/2:]} {
			some, _ := replay(r.setup, part, false)
			require.NoError(t, some.Err, "seed %d", seed)
		}
	}
}
