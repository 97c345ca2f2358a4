package storage_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// bareDatasync returns the median of write 4 KiB, fdatasync into a file of
// zeros: what the disk itself takes.
func bareDatasync(b *testing.B, dir string) time.Duration {
	b.Helper()
	f, err := vfs.OS{}.Create(filepath.Join(dir, "bare"))
	require.NoError(b, err)
	defer func() { require.NoError(b, f.Close()) }()
	const size = 8 << 20
	_, err = f.WriteAt(make([]byte, size), 0)
	require.NoError(b, err)
	require.NoError(b, f.Sync())
	block := make([]byte, 4096)
	all := make([]time.Duration, 2000)
	for i := range all {
		began := time.Now()
		_, err := f.WriteAt(block, int64(i)*4096)
		require.NoError(b, err)
		require.NoError(b, f.Datasync())
		all[i] = time.Since(began)
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func benchStorage(b *testing.B, partitions int) (*storage.Storage, []*member, string) {
	b.Helper()
	dir := b.TempDir()
	s := open(b, storage.Options{Dir: filepath.Join(dir, "s"), ClusterKey: "bench"})
	var members []*member
	for p := range partitions {
		members = append(members, join(b, s, txn.Partition(p), 1))
	}
	return s, members, dir
}

// One append in flight, next to the bare disk in the same run.
func BenchmarkAppendOneInFlight(b *testing.B) {
	s, members, dir := benchStorage(b, 1)
	m := members[0]
	all := make([]time.Duration, 0, b.N)
	done := make(chan error, 1)
	var f record.Frame
	rec := record.Record{Stamp: 1, Data: make([]byte, 512)}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		rec.ID = m.last + 1
		f = record.Append(f[:0], &rec, nil)
		began := time.Now()
		err := s.Append(context.Background(), m.message(f), func(_ session.Appended, err error) { done <- err })
		if err == nil {
			err = <-done
		}
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, time.Since(began))
		m.last, m.stamp = rec.ID, 1
	}
	b.StopTimer()
	slices.Sort(all)
	p50 := all[len(all)/2]
	bare := bareDatasync(b, dir)
	b.ReportMetric(float64(p50.Microseconds()), "p50-µs")
	b.ReportMetric(float64(bare.Microseconds()), "bare-µs")
	b.ReportMetric(float64(p50)/float64(bare), "×bare")
	require.NoError(b, s.Close())
}

// Many frames in flight over one or more partitions. fdatasyncs/s must not grow
// with the partitions.
func BenchmarkAppend(b *testing.B) {
	for _, partitions := range []int{1, 64} {
		for _, inFlight := range []int{64, 1024} {
			b.Run(fmt.Sprintf("partitions=%d/inflight=%d/size=512", partitions, inFlight), func(b *testing.B) {
				benchAppend(b, partitions, inFlight)
			})
		}
	}
}

func benchAppend(b *testing.B, partitions, inFlight int) {
	s, members, _ := benchStorage(b, partitions)
	room := make(chan struct{}, inFlight)
	rec := record.Record{Stamp: 1, Data: make([]byte, 512)}
	var f record.Frame
	done := func(_ session.Appended, err error) {
		if err != nil {
			b.Error(err)
		}
		<-room
	}
	before, began := s.Stats(), time.Now()
	b.SetBytes(int64(record.Size(0, 0, 512)))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		m := members[i%partitions]
		rec.Partition, rec.ID = m.p, m.last+1
		f = record.Append(f[:0], &rec, nil)
		room <- struct{}{}
		if err := s.Append(context.Background(), m.message(f), done); err != nil {
			b.Fatal(err)
		}
		m.last, m.stamp = rec.ID, 1
	}
	for range inFlight {
		room <- struct{}{}
	}
	b.StopTimer()
	after, took := s.Stats(), time.Since(began).Seconds()
	b.ReportMetric(float64(b.N)/took, "records/s")
	b.ReportMetric(float64((after.Journal.SyncTime-before.Journal.SyncTime).Microseconds())/float64(after.Journal.Datasyncs-before.Journal.Datasyncs), "µs/fdatasync")
	b.ReportMetric(float64(after.Journal.Datasyncs-before.Journal.Datasyncs)/took, "fdatasyncs/s")
	require.NoError(b, s.Close())
}

// Reading a partition from its start, and opening a storage again after a kill.
func BenchmarkRead(b *testing.B) {
	s, members, _ := benchStorage(b, 1)
	fill(b, s, members[0], 500_000)
	for _, size := range []int{32 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			next, n := txn.ID(0), 0
			for range b.N {
				f, err := s.Read(context.Background(), 0, next, members[0].last, size)
				if err != nil {
					b.Fatal(err)
				}
				for range f.Trusted() {
					n++
					next++
				}
				if next > members[0].last {
					next = 0
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
	require.NoError(b, s.Close())
}

func fill(b *testing.B, s *storage.Storage, m *member, records int) {
	b.Helper()
	rec := record.Record{Stamp: 1, Data: make([]byte, 136)}
	room := make(chan struct{}, 16)
	for m.last < txn.ID(records) {
		var f record.Frame
		rec.ID = m.last
		for range 500 {
			rec.ID++
			rec.Time = txn.Timestamp(rec.ID)
			f = record.Append(f, &rec, nil)
		}
		room <- struct{}{}
		err := s.Append(context.Background(), m.message(f), func(_ session.Appended, err error) {
			if err != nil {
				b.Error(err)
			}
			<-room
		})
		require.NoError(b, err)
		m.last, m.stamp = rec.ID, 1
	}
	for range cap(room) {
		room <- struct{}{}
	}
}

// BenchmarkReopen opens a log of which the last checkpoint is a journal file
// ago.
func BenchmarkReopen(b *testing.B) {
	for _, records := range []int{100_000, 2_000_000} {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			s, members, dir := benchStorage(b, 1)
			fill(b, s, members[0], records)
			require.Eventually(b, func() bool { st := s.Stats().Journal; return st.Files <= 3 && st.PreparedAhead }, time.Minute, 10*time.Millisecond)
			killed := copyOf(b, filepath.Join(dir, "s"))
			require.NoError(b, s.Close())
			for range b.N {
				b.StopTimer()
				again := copyOf(b, killed)
				syscall.Sync() // the copy is not what we measure
				b.StartTimer()
				s := open(b, storage.Options{Dir: again, ClusterKey: "bench"})
				_, err := s.Read(context.Background(), 0, members[0].last, members[0].last, 1)
				b.StopTimer()
				require.NoError(b, err)
				require.NoError(b, s.Close())
			}
		})
	}
}
