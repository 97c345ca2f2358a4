package cluster_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/e2e/cluster"
)

// BenchmarkStorageComesBack: under load a storage is stopped for two seconds and
// started again. It reports the slowest append of all that time, how long after the
// start the replica has everything and counts, the rate at which it was copied to,
// and beside it the disk's own rate of writing and syncing as much in messages of
// the same size.
func BenchmarkStorageComesBack(b *testing.B) {
	const message = 1 << 20
	dir := b.TempDir()
	c := cluster.New(b, cluster.Options{Disk: dir})
	c.StartServer()
	m := c.Load(128, 500)
	c.Whole(patience)
	m.Progress(5000, patience)
	var slowest, whole time.Duration
	var copied, before, meanwhile, after float64
	for b.Loop() {
		before += rate(b, m, time.Second)
		m.Slowest()
		was := c.Front().Stats().Partitions[0].Replicas.CopiedBytes
		c.Storages[2].Stop()
		<-time.After(2 * time.Second) // that long it is away
		c.Storages[2].Start()
		began, acked := time.Now(), m.Acked()
		c.Whole(patience)
		whole += time.Since(began)
		meanwhile += float64(m.Acked() - acked)
		copied += float64(c.Front().Stats().Partitions[0].Replicas.CopiedBytes - was)
		after += rate(b, m, time.Second)
		slowest = max(slowest, m.Slowest())
	}
	m.Judge(patience)
	disk := sequential(b, filepath.Join(dir, "plain"), message, 128)
	n := float64(b.N)
	mbps := copied / 1e6 / whole.Seconds()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(slowest.Microseconds())/1e3, "slowest-append-ms")
	b.ReportMetric(float64(whole.Microseconds())/1e3/n, "back-to-whole-ms")
	b.ReportMetric(before/n, "appends/s-before")
	b.ReportMetric(meanwhile/whole.Seconds(), "appends/s-meanwhile")
	b.ReportMetric(after/n, "appends/s-after")
	b.ReportMetric(mbps, "copied-MB/s")
	b.ReportMetric(disk, "disk-MB/s")
	b.ReportMetric(mbps/disk, "copied/disk")
}

// rate returns the appends acknowledged per second.
func rate(b *testing.B, m *cluster.Model, d time.Duration) float64 {
	b.Helper()
	from, began := m.Acked(), time.Now()
	<-time.After(d) // that long it is counted
	return float64(m.Acked()-from) / time.Since(began).Seconds()
}

// sequential writes messages one by one, syncs each, and returns MB/s.
func sequential(b *testing.B, name string, size, count int) float64 {
	b.Helper()
	f, err := os.Create(name)
	require.NoError(b, err)
	defer func() { require.NoError(b, f.Close()) }()
	data, began := make([]byte, size), time.Now()
	for range count {
		_, err := f.Write(data)
		require.NoError(b, err)
		require.NoError(b, f.Sync())
	}
	return float64(size*count) / 1e6 / time.Since(began).Seconds()
}
