package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// TestTransfers: several processes move money between the same few accounts at
// the same time, two on one view and one on a view of its own. Over the whole
// history: one total order, in real time, no movement over a conflicting one,
// none lost, none twice, no overdraft, and both views exact.
func TestTransfers(t *testing.T) {
	count, name := sized(1_500, 300_000, "movements")
	t.Run(name, func(t *testing.T) { transfers(t, newServer(t, 2), count, false) })
}

// TestTransfersWhileTheServerDies is the same with a server that is killed.
func TestTransfersWhileTheServerDies(t *testing.T) {
	count, name := sized(1_500, 300_000, "movements")
	t.Run(name, func(t *testing.T) { transfers(t, newServer(t, 2), count, true) })
}

func transfers(t *testing.T, s *devServer, count int, kill bool) {
	const processes = 3
	dir := t.TempDir()
	views := []string{filepath.Join(dir, "shared.db"), filepath.Join(dir, "shared.db"), filepath.Join(dir, "own.db")}
	var jobs []job
	var workers []*process
	for i := range processes {
		jobs = append(jobs, job{
			Kind: "move", Name: fmt.Sprint("mover-", i), Log: s.url(), View: views[i], Calls: count / processes, Accounts: 12,
			Record: filepath.Join(dir, fmt.Sprint("recording-", i)), Seed: uint64(i), Goroutines: 12,
		})
		workers = append(workers, startWorker(t, jobs[i]))
	}
	kills, _ := sized(3, 100, "")
	for i := 0; kill && i < kills; i++ {
		have, _ := workers[0].have()
		workers[0].count(t, len(have)+2) // between two kills it gets somewhere
		s.kill()
		s.start()
	}
	for _, w := range workers {
		w.wait(t)
	}

	h := recordings(t, jobs...)
	h.Logs = s.logs()
	report(t, h)
	require.NoError(t, h.Check())
	for p, log := range h.Logs {
		requireOneEach(t, log)
		require.NoError(t, history.CheckLinear(h, p, 2000, patience()))
	}
	requireExact(t, views[0], h.Logs)
	requireExact(t, views[2], h.Logs)
}

// requireOneEach demands that no key is in a partition twice.
func requireOneEach(t *testing.T, log []history.Entry) {
	t.Helper()
	seen := make(map[string]waltz.ID)
	for _, e := range log {
		if e.Key == "" {
			continue
		}
		before, twice := seen[e.Key]
		require.False(t, twice, "key %q is in %d and in %d", e.Key, before, e.ID)
		seen[e.Key] = e.ID
	}
}

// TestKeyHoldsForEver: a key that was used before many other transactions, and
// before a restart of the server, is found done by a process that has never heard
// of it, on the old view and on a new one. Only the window of locks ends.
func TestKeyHoldsForEver(t *testing.T) {
	count, name := sized(2_000, 2_000_000, "other transactions")
	t.Run(name, func(t *testing.T) { keyHolds(t, newServer(t, 1), count) })
}

func keyHolds(t *testing.T, s *devServer, count int) {
	dir := t.TempDir()
	run := func(name, view string) string {
		p := startWorker(t, job{
			Kind: "key", Name: name, Key: "invoice 4711", Log: s.url(),
			View: filepath.Join(dir, view), Record: filepath.Join(dir, name),
		})
		defer p.wait(t)
		return p.line(t, "the result", func(line string) (string, bool) { return line, true })
	}
	require.Equal(t, "done 0 false", run("first", "old.db"))
	require.Equal(t, "done 0 true", run("at once", "old.db"))
	writeMany(t, s, count, 20)
	s.kill()
	s.start()
	require.Equal(t, "done 0 true", run("late", "old.db"))
	require.Equal(t, "done 0 true", run("late on a new view", "new.db"))
	require.Equal(t, waltz.ID(count), mark(t, s), "nothing was added")
}
