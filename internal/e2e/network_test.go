package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/e2e/history"
)

// TestBrokenConnections cuts every connection after some kilobytes, in the
// middle of a message or of its answer: what is sent again is committed once
// (I4), in real time, and feeds go on where they were (I6).
func TestBrokenConnections(t *testing.T) {
	count, name := sized(4_000, 400_000, "appends")
	t.Run(name, func(t *testing.T) { brokenConnections(t, newServer(t, 2), count) })
}

func brokenConnections(t *testing.T, s *devServer, count int) {
	const appenders = 2
	var jobs []job
	var workers []*process
	var proxies []*proxy
	for i := range appenders {
		proxies = append(proxies, newProxy(t, s.addr, 64<<10))
		jobs = append(jobs, job{
			Kind: "append", Name: fmt.Sprint("appender-", i), Log: proxies[i].url(), Calls: count / appenders,
			Record: filepath.Join(t.TempDir(), "recording"), Seed: uint64(i), Goroutines: 16,
		})
		workers = append(workers, startWorker(t, jobs[i]))
	}
	proxies = append(proxies, newProxy(t, s.addr, 64<<10))
	feeds := job{Kind: "feed", Name: "feeder", Log: proxies[appenders].url(), Record: filepath.Join(t.TempDir(), "recording")}
	feeder := startWorker(t, feeds)
	for _, w := range workers {
		w.wait(t)
	}

	h := recordings(t, jobs...)
	h.Logs = s.logs()
	proxies[appenders].bytesMax.Store(0)
	awaitFeeds(t, feeder, h.Logs)
	feeder.finish(t)
	h.Feeds = recordings(t, feeds).Feeds
	report(t, h)
	cuts := proxies[0].cuts.Load() + proxies[1].cuts.Load()
	t.Logf("%d connections of the appenders were cut, %d of the feeds", cuts, proxies[appenders].cuts.Load())
	require.Positive(t, cuts)
	require.NoError(t, h.Check())
	for p := range h.Logs {
		require.NoError(t, history.CheckLinear(h, p, 2000, patience()))
	}
}
