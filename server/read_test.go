package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server/internal/partition"
)

// filled is a bundle whose partition 0 holds n transactions.
func filled(t *testing.T, n uint64, change func(*Options)) *bundle {
	b := start(t, 2, change).ready()
	s := b.stream()
	for i := range n {
		s.send(tx(0, i+1))
	}
	s.await(int(n))
	return b
}

func (b *bundle) read(r *clientpb.ReadRequest) (ids []int64, all []record.Record, err error) {
	stream, err := b.client.Read(b.ctx, r)
	require.NoError(b.t, err)
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return ids, all, nil
		}
		if err != nil {
			return ids, all, err
		}
		for _, r := range records(b.t, m.GetFrame()) {
			ids, all = append(ids, int64(r.ID)), append(all, r)
		}
	}
}

func TestRead(t *testing.T) {
	b := filled(t, 100, func(o *Options) { o.ReadIDsMax = 10 })
	ids, all, err := b.read(&clientpb.ReadRequest{First: 3, Last: 6})
	require.NoError(t, err)
	require.Equal(t, []int64{3, 4, 5, 6}, ids)
	require.NotEmpty(t, all[0].Data)

	ids, all, err = b.read(&clientpb.ReadRequest{First: 3, Last: 4, HeadersOnly: true})
	require.NoError(t, err)
	require.Equal(t, []int64{3, 4}, ids)
	require.True(t, all[0].DataLeftOut)

	ids, _, err = b.read(&clientpb.ReadRequest{First: 3, Last: 2})
	require.NoError(t, err)
	require.Empty(t, ids)

	want := []int64{0, 1, 5, 40, 41, 99}
	ids, all, err = b.read(&clientpb.ReadRequest{Ids: want})
	require.NoError(t, err)
	require.Equal(t, want, ids)
	require.NotEmpty(t, all[5].Data)

	ids, all, err = b.read(&clientpb.ReadRequest{Ids: want[3:], HeadersOnly: true})
	require.NoError(t, err)
	require.Equal(t, want[3:], ids)
	require.True(t, all[0].DataLeftOut)
}

func TestReadRefuses(t *testing.T) {
	b := filled(t, 10, func(o *Options) { o.ReadIDsMax = 3 })
	for _, c := range []struct {
		name string
		r    *clientpb.ReadRequest
		want wire.Reason
	}{
		{"beyond the log", &clientpb.ReadRequest{First: 3, Last: 10}, wire.OutOfRange},
		{"ID beyond the log", &clientpb.ReadRequest{Ids: []int64{3, 10}}, wire.OutOfRange},
		{"below the log", &clientpb.ReadRequest{First: -1, Last: 3}, wire.Invalid},
		{"backwards", &clientpb.ReadRequest{First: 5, Last: 3}, wire.Invalid},
		{"too many IDs", &clientpb.ReadRequest{Ids: []int64{1, 2, 3, 4}}, wire.Invalid},
		{"IDs not ascending", &clientpb.ReadRequest{Ids: []int64{1, 1}}, wire.Invalid},
		{"no such partition", &clientpb.ReadRequest{Partition: 2}, wire.NoPartition},
		{"empty partition", &clientpb.ReadRequest{Partition: 1}, wire.OutOfRange},
		{"other cluster", &clientpb.ReadRequest{ClusterKey: "other"}, wire.OtherCluster},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := b.read(c.r)
			requireReason(t, err, c.want)
		})
	}
}

func TestSubscribe(t *testing.T) {
	b := filled(t, 20, nil)
	feed, err := b.client.Subscribe(b.ctx, &clientpb.SubscribeRequest{HighWaterMark: 3, Data: clientpb.DataMode_DATA_MODE_FILTERED, Headers: []int32{2}})
	require.NoError(t, err)
	m, err := feed.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(19), m.GetHighWaterMark())
	require.Equal(t, int64(19), m.GetCommitted())
	var ids []txn.ID
	for _, r := range records(t, m.GetFrame()) {
		ids = append(ids, r.ID)
	}
	require.Equal(t, []txn.ID{6, 11, 16}, ids)

	s := b.stream()
	s.append(tx(0, 1000))
	m, err = feed.Recv()
	require.NoError(t, err)
	require.Equal(t, int64(20), m.GetHighWaterMark())
	require.Empty(t, m.GetFrame())

	go func() { _ = b.Stop(b.ctx) }()
	_, err = feed.Recv()
	requireReason(t, err, wire.ShuttingDown)
}

func TestSubscribeRefuses(t *testing.T) {
	b := start(t, 1, func(o *Options) { o.SubscribersMax = 1 }).ready()
	refused := func(r *clientpb.SubscribeRequest, want wire.Reason) {
		t.Helper()
		feed, err := b.client.Subscribe(b.ctx, r)
		require.NoError(t, err)
		_, err = feed.Recv()
		requireReason(t, err, want)
	}
	refused(&clientpb.SubscribeRequest{Partition: 1, HighWaterMark: -1}, wire.NoPartition)
	refused(&clientpb.SubscribeRequest{HighWaterMark: -2}, wire.Invalid)
	refused(&clientpb.SubscribeRequest{HighWaterMark: -1, Data: 7}, wire.Invalid)
	refused(&clientpb.SubscribeRequest{HighWaterMark: -1, ClusterKey: "other"}, wire.OtherCluster)
	refused(&clientpb.SubscribeRequest{HighWaterMark: 5}, wire.OutOfRange)
	refused(&clientpb.SubscribeRequest{HighWaterMark: math.MaxInt64}, wire.OutOfRange)
	ctx, cancel := context.WithCancel(b.ctx)
	_, err := b.client.Subscribe(ctx, &clientpb.SubscribeRequest{HighWaterMark: -1})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.Stats().Subscribers == 1 }, waitMax, tick)
	refused(&clientpb.SubscribeRequest{HighWaterMark: -1}, wire.Unavailable)
	cancel()
	require.Eventually(t, func() bool { return b.Stats().Subscribers == 0 }, waitMax, tick)
}

func TestQueries(t *testing.T) {
	now := time.UnixMicro(5000)
	b := filled(t, 3, func(o *Options) { o.Now = func() time.Time { return now } })
	d, err := b.client.Describe(b.ctx, &clientpb.DescribeRequest{})
	require.NoError(t, err)
	require.Equal(t, "key", d.GetClusterKey())
	require.Equal(t, "waltz", d.GetClusterName())
	require.Equal(t, int32(2), d.GetPartitions())
	require.Equal(t, int64(1<<20), d.GetLimits().GetDataBytesMax())

	at := func(p int32, us int64) int64 {
		m, err := b.client.At(b.ctx, &clientpb.AtRequest{Partition: p, TimeUs: us})
		require.NoError(t, err)
		return m.GetTransactionId()
	}
	require.Equal(t, int64(0), at(0, 5000))
	require.Equal(t, int64(3), at(0, 5001))
	require.Equal(t, int64(0), at(1, 0))
	_, err = b.client.At(b.ctx, &clientpb.AtRequest{Partition: 9})
	requireReason(t, err, wire.NoPartition)
	_, err = b.client.HighWaterMark(b.ctx, &clientpb.HighWaterMarkRequest{Partition: -1})
	requireReason(t, err, wire.NoPartition)
	hwm, err := b.client.HighWaterMark(b.ctx, &clientpb.HighWaterMarkRequest{Partition: 1})
	require.NoError(t, err)
	require.Equal(t, int64(-1), hwm.GetHighWaterMark())
}

func TestHealth(t *testing.T) {
	b := start(t, 2, nil).ready()
	h := &health{server: b.Server}
	check := func() healthpb.HealthCheckResponse_ServingStatus {
		m, err := h.Check(b.ctx, nil)
		require.NoError(t, err)
		return m.GetStatus()
	}
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, check())
	b.logs[1].FailOpen(context.DeadlineExceeded)
	b.logs[1].End(0, nil)
	require.Eventually(t, func() bool { return check() == healthpb.HealthCheckResponse_NOT_SERVING }, waitMax, tick)
	ctx, cancel := context.WithTimeout(b.ctx, 5*tick)
	defer cancel()
	require.ErrorContains(t, b.Ready(ctx), "partition 1")
	_, err := b.client.HighWaterMark(b.ctx, &clientpb.HighWaterMarkRequest{Partition: 1})
	requireReason(t, err, wire.Unavailable)
	b.logs[1].FailOpen(nil)
	b.ready()
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, check())
}

// TestDamagedPartition: one that stays closed for damage says so, and takes
// nothing from the others.
func TestDamagedPartition(t *testing.T) {
	b := start(t, 2, nil).ready()
	h := &health{server: b.Server}
	status := func() healthpb.HealthCheckResponse_ServingStatus {
		m, err := h.Check(b.ctx, nil)
		require.NoError(t, err)
		return m.GetStatus()
	}
	why := &record.CorruptError{Reason: "checksum"}
	b.logs[1].FailOpen(fmt.Errorf("storage s1: %w", why))
	b.logs[1].End(0, nil)
	require.Eventually(t, func() bool { return b.Ready(b.ctx) != nil }, waitMax, tick)
	var closed *DamagedError
	require.ErrorAs(t, b.Ready(b.ctx), &closed)
	require.Equal(t, []txn.Partition{1}, closed.Partitions)
	require.ErrorIs(t, closed, why)
	require.Equal(t, healthpb.HealthCheckResponse_SERVING, status())
	require.Equal(t, []bool{false, true}, []bool{b.Stats().Partitions[0].Damaged, b.Stats().Partitions[1].Damaged})

	s := b.stream()
	_, no := s.append(tx(1, 1))
	require.Equal(t, clientpb.Reason_REASON_CORRUPT, no.GetReason())
	_, no = s.append(tx(0, 1))
	require.Nil(t, no)
	_, err := b.client.HighWaterMark(b.ctx, &clientpb.HighWaterMarkRequest{Partition: 1})
	requireReason(t, err, wire.Corrupt)
	feed, err := b.client.Subscribe(b.ctx, &clientpb.SubscribeRequest{Partition: 1, HighWaterMark: -1})
	require.NoError(t, err)
	_, err = feed.Recv()
	requireReason(t, err, wire.Corrupt)

	b.logs[0].FailOpen(why)
	b.logs[0].End(0, nil)
	require.Eventually(t, func() bool { return status() == healthpb.HealthCheckResponse_NOT_SERVING }, waitMax, tick)
	require.Eventually(t, func() bool { return errors.As(b.Ready(b.ctx), &closed) && len(closed.Partitions) == 2 }, waitMax, tick)
	require.Equal(t, healthpb.HealthCheckResponse_NOT_SERVING, status(), "there is nothing to serve")
}

// TestStalledMetric: a partition whose storages are full is open, and says so.
func TestStalledMetric(t *testing.T) {
	b := start(t, 1, nil).ready()
	stalled := func() bool { return b.Stats().Partitions[0].Stalled }
	require.False(t, stalled())
	b.logs[0].Stall(session.ErrFull)
	require.Eventually(t, stalled, waitMax, tick)
	b.logs[0].Stall(nil)
	require.Eventually(t, func() bool { return !stalled() }, waitMax, tick)
}

// TestMetrics: the collector is a good one, and exports what the catalogue says.
func TestMetrics(t *testing.T) {
	b := filled(t, 7, nil)
	s := b.stream()
	s.append(tx(0, 1)) // a duplicate
	bad := tx(0, 99)
	bad.ClientHighWaterMark = 1000
	s.append(bad)
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(b.Collector()))
	families, err := registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		values[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	for _, m := range Metrics() {
		require.NotEmpty(t, m.Help)
		if slices.Contains(m.Labels, "storage") { // there are none behind the fake
			values[m.Name] = 0
		}
		require.Contains(t, values, m.Name)
	}
	require.Len(t, values, len(Metrics()))
	for name, want := range map[string]float64{
		"high_water_mark": 6, "open": 1, "committed_transactions_total": 7, "sequenced_transactions_total": 7, "duplicates_total": 1,
		"refused_total": 1, "sessions_opened_total": 1, "in_flight_transactions": 0, "inbox_bytes": 0, "commit_latency_seconds": values["waltz_server_frames_total"],
	} {
		require.Equal(t, want, values["waltz_server_"+name], name)
	}
}

// TestReplicaMetrics: which replica is behind, and how far. How far one is that is
// away is not known, so nothing is told.
func TestReplicaMetrics(t *testing.T) {
	stats := Stats{Partitions: []PartitionStats{{Partition: 3, Replicas: partition.Replicas{Each: []partition.Replica{
		{Storage: "s1", Counting: true}, {Storage: "s2", Lag: 4711}, {Storage: "s3", Away: true},
	}}}}}
	require.NoError(t, testutil.CollectAndCompare(newCollector(func() Stats { return stats }), strings.NewReader(`
# HELP waltz_server_replica_counting 1 if the storage's replica takes appends and counts towards a majority, 0 if it is away or catching up.
# TYPE waltz_server_replica_counting gauge
waltz_server_replica_counting{partition="3",storage="s1"} 1
waltz_server_replica_counting{partition="3",storage="s2"} 0
waltz_server_replica_counting{partition="3",storage="s3"} 0
# HELP waltz_server_replica_lag_transactions Committed transactions that the storage's replica has not answered; none is told of one that is away.
# TYPE waltz_server_replica_lag_transactions gauge
waltz_server_replica_lag_transactions{partition="3",storage="s1"} 0
waltz_server_replica_lag_transactions{partition="3",storage="s2"} 4711
`), "waltz_server_replica_counting", "waltz_server_replica_lag_transactions"))
}

func TestOptionsNameEveryMistake(t *testing.T) {
	_, err := New(Options{Partitions: -1, DataBytesMax: -1, LocksMax: 1 << 20, GroupBytesMax: 5, ReopenFirst: time.Hour * 2})
	for _, name := range []string{"ClusterKey", "Partitions", "Metadata", "Replicas", "DataBytesMax", "LocksMax", "GroupBytesMax", "ReopenFirst"} {
		require.ErrorContains(t, err, name)
	}
}

func TestStopEarlyAndTwice(t *testing.T) {
	o := Options{ClusterKey: "key", Partitions: 1, open: func(context.Context, txn.Partition, func(txn.ID)) (partition.Session, error) {
		return nil, io.ErrUnexpectedEOF
	}}
	s, err := New(o)
	require.NoError(t, err)
	require.NoError(t, s.Stop(context.Background()))
	s.Start()
	require.NoError(t, s.Stop(context.Background()))
	require.Error(t, s.Ready(context.Background()))

	s, err = New(o)
	require.NoError(t, err)
	s.Start()
	s.Start()
	require.NoError(t, s.Stop(context.Background()))
}
