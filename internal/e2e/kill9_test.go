package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// TestKill9 kills the server over and over while workers append and others
// read, restarts it at once, kills the process that applies the log to SQLite,
// too, and judges the whole history at the end: nothing acknowledged is lost,
// IDs are dense, once, in real time and over no conflicting lock; every feed is
// the log, and the view is exact (I1, I2, I4, I5, I6, I7, I8).
func TestKill9(t *testing.T) {
	rounds, name := sized(5, 50, "rounds")
	t.Run(name, func(t *testing.T) { kill9(t, newServer(t, 3), rounds) })
}

func kill9(t *testing.T, s *devServer, rounds int) {
	const partitions, appenders = 3, 2
	var jobs []job
	var workers []*process
	for i := range appenders {
		jobs = append(jobs, job{
			Kind: "append", Name: fmt.Sprint("appender-", i), Log: s.url(),
			Record: filepath.Join(t.TempDir(), "recording"), Seed: uint64(i), Goroutines: 24,
		})
		workers = append(workers, startWorker(t, jobs[i]))
	}
	feeds := job{Kind: "feed", Name: "feeder", Log: s.url(), Record: filepath.Join(t.TempDir(), "recording")}
	feeder := startWorker(t, feeds)

	view := filepath.Join(t.TempDir(), "view.db")
	viewer := func(toEnd bool) *process {
		return startWorker(t, job{Kind: "view", Name: "viewer", Log: s.url(), View: view, ToEnd: toEnd})
	}
	viewer(true).wait(t) // the tables are there: a process killed while it makes them holds their lock for a while
	v := viewer(false)
	for round := range rounds {
		w := workers[round%appenders]
		have, _ := w.have()
		w.count(t, len(have)+1+rand.IntN(20)) // progress, so that the next kill hits work
		if round%2 == 0 {
			v.kill()
			v = viewer(false)
		}
		s.kill()
		s.start()
	}
	for _, w := range workers {
		have, _ := w.have()
		w.count(t, len(have)+5) // it serves after the last kill, too
		w.finish(t)
	}

	h := recordings(t, jobs...)
	h.Logs = s.logs()
	awaitFeeds(t, feeder, h.Logs)
	feeder.finish(t)
	h.Feeds = recordings(t, feeds).Feeds
	require.Len(t, h.Feeds, 2*partitions)
	report(t, h)
	require.NoError(t, h.Check())
	v.kill()
	requireExact(t, view, h.Logs)
	viewer(true).wait(t)
	for p, mark := range requireExact(t, view, h.Logs) {
		require.Len(t, h.Logs[p], int(mark)+1)
	}
	for p := range partitions {
		require.NoError(t, history.CheckLinear(h, waltz.Partition(p), 2000, patience()))
	}
}

// awaitFeeds waits until every feed has said that it is at the end of the log.
func awaitFeeds(t *testing.T, feeder *process, logs map[waltz.Partition][]history.Entry) {
	t.Helper()
	for p, log := range logs {
		for _, kind := range []string{"all", "some"} {
			want := fmt.Sprintln("feeder", kind, p, len(log)-1)
			feeder.line(t, want, func(line string) (string, bool) { return "", line+"\n" == want })
		}
	}
}

// report tells what the history had in it, and refuses one that proves nothing.
func report(t *testing.T, h *history.History) {
	t.Helper()
	count := make(map[history.Outcome]int)
	for _, o := range h.Ops {
		count[o.Outcome]++
	}
	t.Logf("%d appends: %d committed, %d conflicts, %d stale, %d refused, %d unknown; %d looks",
		len(h.Ops), count[history.Committed], count[history.Conflict], count[history.Stale], count[history.Refused],
		count[history.Unknown], len(h.Looks))
	require.Positive(t, count[history.Committed])
	require.Positive(t, count[history.Conflict])
}
