package storage_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage"
)

const catchUpBytes = 1 << 20

// BenchmarkCatchUpRead reads a partition from its start in messages of a mebibyte,
// beside bare preads of the same files into one buffer in the same run.
func BenchmarkCatchUpRead(b *testing.B) {
	s, members, dir := benchStorage(b, 1)
	fill(b, s, members[0], 300_000)
	require.NoError(b, s.Close())
	s = open(b, storage.Options{Dir: filepath.Join(dir, "s"), ClusterKey: "bench"})
	defer func() { require.NoError(b, s.Close()) }()
	buf := make([]byte, catchUpBytes+storage.ReadSlack)
	var bare, pooled, allocated time.Duration
	var bytes int64
	b.ResetTimer()
	for range b.N {
		bare += timed(b, func() { bytes += preadAll(b, filepath.Join(dir, "s", "partitions", "000000"), buf[:catchUpBytes]) })
		pooled += timed(b, func() { readRange(b, s, members[0].last, buf) })
		allocated += timed(b, func() { readRange(b, s, members[0].last, nil) })
	}
	b.ReportMetric(float64(bytes)/bare.Seconds()/1e6, "pread-MB/s")
	b.ReportMetric(float64(bytes)/pooled.Seconds()/1e6, "read-MB/s")
	b.ReportMetric(pooled.Seconds()/bare.Seconds(), "×pread")
	b.ReportMetric(allocated.Seconds()/bare.Seconds(), "×pread-own-buffer")
}

func timed(b *testing.B, f func()) time.Duration {
	b.Helper()
	began := time.Now()
	f()
	return time.Since(began)
}

func readRange(b *testing.B, s *storage.Storage, last txn.ID, buf []byte) {
	b.Helper()
	for next := txn.ID(0); next <= last; {
		f, err := s.ReadInto(context.Background(), 0, next, last, catchUpBytes, buf)
		require.NoError(b, err)
		for len(f) > 0 {
			next, f = f.TrustedID()+1, f[f.TrustedLen():]
		}
	}
}

func preadAll(b *testing.B, dir string, buf []byte) (bytes int64) {
	b.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	require.NoError(b, err)
	for _, name := range names {
		f, err := os.Open(name)
		require.NoError(b, err)
		for off := int64(0); err == nil; {
			var n int
			n, err = f.ReadAt(buf, off)
			off, bytes = off+int64(n), bytes+int64(n)
		}
		require.ErrorIs(b, err, io.EOF)
		require.NoError(b, f.Close())
	}
	return bytes
}

// BenchmarkAppendBesideCatchUp: one append in flight, in turns alone and beside four
// replicas that catch up on another partition as fast as they are served.
func BenchmarkAppendBesideCatchUp(b *testing.B) {
	s, members, _ := benchStorage(b, 2)
	fill(b, s, members[0], 300_000)
	defer func() { require.NoError(b, s.Close()) }()
	var alone, beside []time.Duration
	var read int64
	began := time.Duration(0)
	b.ResetTimer()
	const rounds = 6
	for i := range rounds {
		n := max(b.N/rounds, 50)
		if i%2 == 0 {
			alone = append(alone, appendLatencies(b, members[1], n)...)
			continue
		}
		began += timed(b, func() {
			read += besideReaders(b, s, members[0].last, 4, func() { beside = append(beside, appendLatencies(b, members[1], n)...) })
		})
	}
	b.StopTimer()
	slices.Sort(alone)
	slices.Sort(beside)
	at := func(all []time.Duration, part float64) float64 {
		return float64(all[int(part*float64(len(all)-1))].Nanoseconds()) / 1e3
	}
	b.ReportMetric(at(alone, .5), "p50-µs")
	b.ReportMetric(at(beside, .5), "p50-beside-µs")
	b.ReportMetric(at(alone, .99), "p99-µs")
	b.ReportMetric(at(beside, .99), "p99-beside-µs")
	b.ReportMetric(at(beside, .99)/at(alone, .99), "×p99")
	b.ReportMetric(float64(read)/began.Seconds()/1e6, "catchup-MB/s")
}

// besideReaders runs a function beside readers, and returns how much they read.
func besideReaders(b *testing.B, s *storage.Storage, last txn.ID, readers int, run func()) int64 {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var read atomic.Int64
	for range readers {
		wg.Go(func() {
			buf := make([]byte, catchUpBytes+storage.ReadSlack)
			for next := txn.ID(0); ctx.Err() == nil; {
				f, err := s.ReadInto(context.Background(), 0, next, last, catchUpBytes, buf)
				if err != nil {
					b.Error(err)
					return
				}
				read.Add(int64(len(f)))
				for len(f) > 0 {
					next, f = f.TrustedID()+1, f[f.TrustedLen():]
				}
				if next > last {
					next = 0
				}
			}
		})
	}
	run()
	cancel()
	wg.Wait()
	return read.Load()
}

func appendLatencies(b *testing.B, m *member, n int) []time.Duration {
	b.Helper()
	all := make([]time.Duration, 0, n)
	done := make(chan error, 1)
	rec := record.Record{Partition: m.p, Stamp: 1, Data: make([]byte, 512)}
	var f record.Frame
	for range n {
		rec.ID = m.last + 1
		f = record.Append(f[:0], &rec, nil)
		began := time.Now()
		err := m.s.Append(context.Background(), m.message(f), func(_ session.Appended, err error) { done <- err })
		if err == nil {
			err = <-done
		}
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, time.Since(began))
		m.last, m.stamp = rec.ID, 1
	}
	return all
}
