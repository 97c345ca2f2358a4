package e2e

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/waltz"
)

// TestBigLog: how long a log is makes no difference to how fast it is there
// again after SIGKILL, nor to how much memory a subscriber's replay takes. The
// figures are demanded in the soak run only, where the log is as long as promised.
func TestBigLog(t *testing.T) {
	count, name := sized(200_000, 10_000_000, "transactions")
	t.Run(name, func(t *testing.T) { bigLog(t, count) })
}

func bigLog(t *testing.T, count int) {
	const restartMax, rssMax = 2 * time.Second, 150 << 20
	s := unstarted(t, 1, plainCommand)
	s.start()
	fillAndKill(t, s, count)

	began := time.Now()
	s.start()
	client := s.client()
	defer func() { require.NoError(t, client.Close()) }()
	mark, err := client.HighWaterMark(t.Context(), 0)
	restart := time.Since(began)
	require.NoError(t, err)
	require.Equal(t, waltz.ID(count-1), mark)

	began = time.Now()
	replay(t, client, count)
	took, rss := time.Since(began), peakRSS(t, s.process.cmd.Process.Pid)
	t.Logf("%d transactions of 200 bytes: restart after SIGKILL in %s, replay at %.0f/s, VmHWM %d MB",
		count, restart.Round(time.Millisecond), float64(count)/took.Seconds(), rss>>20)
	if soak() {
		require.Less(t, restart, restartMax)
		require.Less(t, rss, int64(rssMax))
	}
}

// fillAndKill writes the log and kills the server on the way, while journal files
// are being recycled, and at the end. What was sent again is there once (I4):
// the caller counts.
func fillAndKill(t *testing.T, s *devServer, count int) {
	t.Helper()
	var appended atomic.Int64
	filled := make(chan error, 1)
	client := s.client()
	defer func() { require.NoError(t, client.Close()) }()
	go func() { filled <- write(t.Context(), client, count, 200, &appended) }()
	for i := range 4 {
		eventually(t, "the log grows", func() bool { return appended.Load() >= int64((i+1)*count/5) })
		s.kill()
		s.start()
	}
	require.NoError(t, <-filled)
	s.kill()
}

// writeMany appends from many goroutines at once.
func writeMany(t *testing.T, s *devServer, count, size int) {
	t.Helper()
	client := s.client()
	defer func() { require.NoError(t, client.Close()) }()
	require.NoError(t, write(t.Context(), client, count, size, new(atomic.Int64)))
}

func write(ctx context.Context, client *waltz.Client, count, size int, appended *atomic.Int64) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range 1024 {
		g.Go(func() error {
			data := make([]byte, size)
			for next.Add(1) <= int64(count) {
				if _, err := client.Append(ctx, 0, waltz.Transaction{Data: data, HighWaterMark: waltz.None}); err != nil {
					return err
				}
				appended.Add(1)
			}
			return nil
		})
	}
	return g.Wait()
}

// replay reads the whole partition with one subscriber: every ID, in order (I6).
func replay(t *testing.T, client *waltz.Client, count int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	sub, err := client.Subscribe(ctx, waltz.SubscribeOptions{HighWaterMark: waltz.None})
	require.NoError(t, err)
	next := waltz.ID(0)
	for int(next) < count {
		b, err := sub.Next(ctx, 0)
		require.NoError(t, err)
		for i := range b.Transactions {
			if id := b.Transactions[i].ID; id != next {
				require.Equal(t, next, id)
			}
			next++
		}
	}
	require.NoError(t, sub.Close())
}

// peakRSS is the largest resident set that a process has had, mapped pages included.
func peakRSS(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, found, "%s", status)
	kb, err := strconv.ParseInt(string(found[1]), 10, 64)
	require.NoError(t, err)
	return kb << 10
}
