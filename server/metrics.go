package server

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/server/internal/partition"
)

// Metric is one line of the catalogue of metrics.
type Metric struct {
	Name   string
	Help   string
	Labels []string
	Type   prometheus.ValueType // histograms: 0
}

// metric is a Metric and how it is read from a partition's snapshot; exactly one
// of value, reasons, replica and the server's own is set.
type metric struct {
	Metric
	value   func(*PartitionStats) float64
	reasons func(*PartitionStats) map[wire.Reason]uint64
	replica func(*partition.Replica) (value float64, known bool)
	server  func(*Stats) float64
}

func perReplica(name, help string, value func(*partition.Replica) (float64, bool)) metric {
	return metric{Metric: Metric{"waltz_server_" + name, help, []string{"partition", "storage"}, prometheus.GaugeValue}, replica: value}
}

func perPartition(name, help string, t prometheus.ValueType, value func(*PartitionStats) float64) metric {
	return metric{Metric: Metric{"waltz_server_" + name, help, []string{"partition"}, t}, value: value}
}

func perServer(name, help string, t prometheus.ValueType, value func(*Stats) float64) metric {
	return metric{Metric: Metric{"waltz_server_" + name, help, nil, t}, server: value}
}

const latencyName = "waltz_server_commit_latency_seconds"

// catalogue lists every metric but the latency histogram.
func catalogue() []metric {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []metric{
		perPartition("high_water_mark", "ID of the last committed transaction.", gauge, func(p *PartitionStats) float64 { return float64(p.HighWaterMark) }),
		perPartition("open", "1 if the partition has a store session, 0 if not.", gauge, func(p *PartitionStats) float64 { return flag(p.Open) }),
		perPartition("damaged", "1 if the partition stays closed, since the storages that could open it are damaged, 0 if not.", gauge, func(p *PartitionStats) float64 { return flag(p.Damaged) }),
		perPartition("stalled", "1 if the partition refuses appends, since its storages are full, 0 if not.", gauge, func(p *PartitionStats) float64 { return flag(p.Stalled) }),
		perPartition("session", "ID of the open store session.", gauge, func(p *PartitionStats) float64 { return float64(p.Session) }),
		perPartition("replicas_counting", "Replicas that take appends and count towards a majority.", gauge, func(p *PartitionStats) float64 { return float64(p.Replicas.Counting) }),
		perPartition("replicas_catching_up", "Replicas that take appends and lack some that the others were sent.", gauge, func(p *PartitionStats) float64 { return float64(p.Replicas.CatchingUp) }),
		perPartition("replicas_away", "Replicas that were tried in vain in the open store session.", gauge, func(p *PartitionStats) float64 { return float64(p.Replicas.Away) }),
		perReplica("replica_counting", "1 if the storage's replica takes appends and counts towards a majority, 0 if it is away or catching up.", func(r *partition.Replica) (float64, bool) { return flag(r.Counting), true }),
		perReplica("replica_lag_transactions", "Committed transactions that the storage's replica has not answered; none is told of one that is away.", func(r *partition.Replica) (float64, bool) { return float64(r.Lag), !r.Away }),
		perPartition("replica_copied_bytes", "Bytes copied to replicas that were behind, in the open store session.", gauge, func(p *PartitionStats) float64 { return float64(p.Replicas.CopiedBytes) }),
		perPartition("in_flight_transactions", "Transactions sequenced and not committed yet.", gauge, func(p *PartitionStats) float64 { return float64(p.InFlight) }),
		perPartition("inbox_bytes", "Transactions that wait to be sequenced, in bytes.", gauge, func(p *PartitionStats) float64 { return float64(p.InboxBytes) }),
		perPartition("subscribers", "Subscriptions of the partition.", gauge, func(p *PartitionStats) float64 { return float64(p.Subscribers) }),
		perPartition("committed_transactions_total", "Transactions committed by this process.", counter, func(p *PartitionStats) float64 { return float64(p.Committed) }),
		perPartition("sequenced_transactions_total", "Transactions that were given an ID by this process.", counter, func(p *PartitionStats) float64 { return float64(p.Sequenced) }),
		perPartition("sequenced_bytes_total", "Bytes of the records of sequenced transactions.", counter, func(p *PartitionStats) float64 { return float64(p.SequencedBytes) }),
		perPartition("frames_total", "Frames handed to the store session.", counter, func(p *PartitionStats) float64 { return float64(p.Frames) }),
		perPartition("duplicates_total", "Attempts answered with the answer of an earlier sending.", counter, func(p *PartitionStats) float64 { return float64(p.Duplicates) }),
		perPartition("log_searches_total", "Resends older than the request window, searched for in the log.", counter, func(p *PartitionStats) float64 { return float64(p.Searches) }),
		perPartition("sessions_opened_total", "Store sessions opened.", counter, func(p *PartitionStats) float64 { return float64(p.Opens) }),
		perPartition("sessions_lost_total", "Store sessions that ended while the partition was in service.", counter, func(p *PartitionStats) float64 { return float64(p.Losses) }),
		perPartition("damaged_tails_total", "Store sessions opened on a log whose last transactions are damaged: locks and requests are remembered above the damage only.", counter, func(p *PartitionStats) float64 { return float64(p.DamagedTails) }),
		perPartition("fed_cached_bytes_total", "Bytes fed to subscribers from memory, before filters.", counter, func(p *PartitionStats) float64 { return float64(p.FedCachedBytes) }),
		perPartition("fed_read_bytes_total", "Bytes fed to subscribers from storages, before filters.", counter, func(p *PartitionStats) float64 { return float64(p.FedReadBytes) }),
		{
			Metric:  Metric{"waltz_server_refused_total", "Transactions refused, by reason.", []string{"partition", "reason"}, counter},
			reasons: func(p *PartitionStats) map[wire.Reason]uint64 { return p.Refused },
		},
		perServer("cache_bytes", "Committed records kept in memory for subscribers, in bytes.", gauge, func(s *Stats) float64 { return float64(s.CacheBytes) }),
		perServer("subscriptions", "Subscriptions of all partitions.", gauge, func(s *Stats) float64 { return float64(s.Subscribers) }),
	}
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Metrics returns the catalogue of all metrics that Collector exports.
func Metrics() []Metric {
	var all []Metric
	for _, m := range catalogue() {
		all = append(all, m.Metric)
	}
	return append(all, Metric{Name: latencyName, Help: latencyHelp, Labels: []string{"partition"}})
}

const latencyHelp = "Time from sequencing a frame to its commit."

// Collector returns a Prometheus collector of the server's metrics. It takes a
// snapshot at each scrape and costs nothing between.
func (s *Server) Collector() prometheus.Collector { return newCollector(s.Stats) }

func newCollector(stats func() Stats) *collector {
	c := &collector{stats: stats, latency: prometheus.NewDesc(latencyName, latencyHelp, []string{"partition"}, nil)}
	for _, m := range catalogue() {
		c.metrics = append(c.metrics, m)
		c.descs = append(c.descs, prometheus.NewDesc(m.Name, m.Help, m.Labels, nil))
	}
	return c
}

type collector struct {
	stats   func() Stats
	metrics []metric
	descs   []*prometheus.Desc
	latency *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
	to <- c.latency
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	stats := c.stats()
	for i, m := range c.metrics {
		if m.server != nil {
			to <- prometheus.MustNewConstMetric(c.descs[i], m.Type, m.server(&stats))
			continue
		}
		for p := range stats.Partitions {
			m.collect(to, c.descs[i], &stats.Partitions[p])
		}
	}
	for p := range stats.Partitions {
		to <- latency(c.latency, &stats.Partitions[p])
	}
}

func (m *metric) collect(to chan<- prometheus.Metric, d *prometheus.Desc, p *PartitionStats) {
	if m.value != nil {
		to <- prometheus.MustNewConstMetric(d, m.Type, m.value(p), p.Partition.String())
		return
	}
	if m.replica != nil {
		for i := range p.Replicas.Each {
			r := &p.Replicas.Each[i]
			if v, known := m.replica(r); known {
				to <- prometheus.MustNewConstMetric(d, m.Type, v, p.Partition.String(), r.Storage)
			}
		}
		return
	}
	for reason, n := range m.reasons(p) {
		to <- prometheus.MustNewConstMetric(d, m.Type, float64(n), p.Partition.String(), reasonLabel(reason))
	}
}

func reasonLabel(r wire.Reason) string {
	if label := r.Label(); label != "" {
		return label
	}
	return strconv.Itoa(int(r))
}

func latency(d *prometheus.Desc, p *PartitionStats) prometheus.Metric {
	buckets, count := make(map[float64]uint64, len(partition.LatencyBounds)), uint64(0)
	for i, bound := range partition.LatencyBounds {
		count += p.CommitLatency[i]
		buckets[bound.Seconds()] = count
	}
	count += p.CommitLatency[len(partition.LatencyBounds)]
	return prometheus.MustNewConstHistogram(d, count, p.CommitLatencyTotal.Seconds(), buckets, p.Partition.String())
}
