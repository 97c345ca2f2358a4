package cluster_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/e2e/cluster"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/waltz"
)

// BenchmarkTakeover: a server takes a partition over from one that goes on. It
// reports the time from the claim to the first append's answer, and its parts: until
// the session is open, and until lock table and request window are rebuilt.
// WALTZ_TAKEOVER is how many transactions the log has, by default 300,000; they have
// WALTZ_TAKEOVER_DATA bytes of data, by default 200, and one lock.
func BenchmarkTakeover(b *testing.B) {
	count, bytes := number("WALTZ_TAKEOVER", 300_000), number("WALTZ_TAKEOVER_DATA", 200)
	times := &stopwatch{at: map[string]time.Time{}}
	c := cluster.New(b, cluster.Options{Disk: b.TempDir(), Logger: slog.New(times)})
	fill(b, c, txn.ID(count), bytes)
	c.StartServer()
	c.Whole(patience)
	var total, opened, rebuilt, first time.Duration
	for b.Loop() {
		times.reset()
		began := time.Now()
		s := c.StartServer()
		ctx, cancel := context.WithTimeout(b.Context(), patience)
		require.NoError(b, s.Ready(ctx))
		ready := time.Now()
		b.StopTimer()
		client := c.Dial()
		b.StartTimer()
		dialed := time.Now()
		_, err := client.Append(ctx, 0, waltz.Transaction{Data: []byte("first"), HighWaterMark: waltz.None})
		require.NoError(b, err)
		appended := time.Since(dialed)
		cancel()
		total += ready.Sub(began) + appended
		opened += times.of("store session opened").Sub(began)
		rebuilt += times.of("partition open").Sub(times.of("store session opened"))
		first += appended
		b.StopTimer()
		require.NoError(b, client.Close())
		c.Servers[len(c.Servers)-2].Kill()
		c.Whole(patience)
		b.StartTimer()
	}
	ms := func(d time.Duration, unit string) {
		b.ReportMetric(float64(d.Microseconds())/1e3/float64(b.N), unit)
	}
	b.ReportMetric(0, "ns/op")
	ms(total, "claim-to-append-ms")
	ms(opened, "open-ms")
	ms(rebuilt, "rebuild-ms")
	ms(first, "append-ms")
}

// number is an environment variable's, or another.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// stopwatch is a log that remembers when something was said first.
type stopwatch struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (s *stopwatch) Enabled(context.Context, slog.Level) bool { return true }
func (s *stopwatch) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *stopwatch) WithGroup(string) slog.Handler            { return s }
func (s *stopwatch) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, said := s.at[r.Message]; !said {
		s.at[r.Message] = r.Time
	}
	return nil
}

func (s *stopwatch) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.at)
}

func (s *stopwatch) of(message string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[message]
}

// fill writes a log of session 1 into all storages, past the servers.
func fill(b *testing.B, c *cluster.Cluster, count txn.ID, bytes int) {
	b.Helper()
	m, version, err := metadata.LoadPartition(b.Context(), c.Meta, 0)
	require.NoError(b, err)
	m.Session, m.Opened = 1, 1
	replicas := make([]session.Replica, len(c.Storages))
	for i, s := range c.Storages {
		s.Join()
		st := s.Host().Storage()
		replicas[i], err = st.CreateReplica(b.Context(), 0)
		require.NoError(b, err)
		_, err = st.Open(b.Context(), session.Open{Session: 1})
		require.NoError(b, err)
		require.NoError(b, st.Install(b.Context(), session.Install{Session: 1, Replica: replicas[i], Last: txn.None}))
		m.Members = append(m.Members, metadata.Member{Storage: s.Name, Incarnation: replicas[i].Incarnation, Installed: 1})
	}
	_, err = metadata.SavePartition(b.Context(), c.Meta, 0, m, version)
	require.NoError(b, err)
	data := make([]byte, bytes)
	for first, frame := txn.ID(0), record.Frame(nil); first < count; {
		last := min(first+2999, count-1)
		frame = frame[:0]
		for id := first; id <= last; id++ {
			r := record.Record{ID: id, Stamp: 1, Time: txn.Timestamp(1_000_000 + id), Data: data}
			binary.LittleEndian.PutUint64(r.Request[8:], uint64(id+1)*0x9E3779B97F4A7C15)
			frame = record.Append(frame, &r, []txn.Lock{{Hash: txn.LockHash(id * 7919), Mode: txn.LockWrite}})
		}
		appendAll(b, c, replicas, first, frame)
		first = last + 1
	}
}

func appendAll(b *testing.B, c *cluster.Cluster, replicas []session.Replica, first txn.ID, frame record.Frame) {
	var wg sync.WaitGroup
	for i, s := range c.Storages {
		m := session.Append{Session: 1, Replica: replicas[i], PrevID: first - 1, Committed: first - 1, Records: frame}
		if first > 0 {
			m.PrevStamp = 1
		}
		wg.Add(1)
		require.NoError(b, s.Host().Storage().Append(b.Context(), m, func(_ session.Appended, err error) {
			if err != nil {
				b.Error(err)
			}
			wg.Done()
		}))
	}
	wg.Wait()
}
