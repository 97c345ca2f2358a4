package storage

import "github.com/prometheus/client_golang/prometheus"

// Metric is one line of the catalogue of metrics.
type Metric struct {
	Name  string
	Help  string
	Type  prometheus.ValueType
	value func(*Stats) float64
}

// Metrics returns the catalogue of all metrics that Collector exports.
func Metrics() []Metric {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []Metric{
		{"waltz_storage_journal_groups_total", "Groups written to the journal.", counter, func(s *Stats) float64 { return float64(s.Journal.Groups) }},
		{"waltz_storage_journal_datasyncs_total", "Groups synced: one fdatasync each, whatever number of partitions is in it.", counter, func(s *Stats) float64 { return float64(s.Journal.Datasyncs) }},
		{"waltz_storage_journal_datasync_seconds_total", "Time spent writing and syncing them.", counter, func(s *Stats) float64 { return s.Journal.SyncTime.Seconds() }},
		{"waltz_storage_journal_datasync_max_seconds", "The longest of them.", gauge, func(s *Stats) float64 { return s.Journal.SyncTimeMax.Seconds() }},
		{"waltz_storage_journal_written_bytes_total", "Bytes written to the journal, padding included.", counter, func(s *Stats) float64 { return float64(s.Journal.Bytes) }},
		{"waltz_storage_journal_files", "Journal files that are replayed at the next start.", gauge, func(s *Stats) float64 { return float64(s.Journal.Files) }},
		{"waltz_storage_journal_files_zeroed_total", "Journal files that were filled with zeros.", counter, func(s *Stats) float64 { return float64(s.Journal.FilesZeroed) }},
		{"waltz_storage_journal_files_recycled_total", "Journal files that were used again.", counter, func(s *Stats) float64 { return float64(s.Journal.FilesRecycled) }},
		{"waltz_storage_journal_file_waits_total", "Times that appends waited for a prepared journal file.", counter, func(s *Stats) float64 { return float64(s.Journal.WaitsForBlocks) }},
		{"waltz_storage_appends_total", "Frames committed, copies included.", counter, func(s *Stats) float64 { return float64(s.Appends) }},
		{"waltz_storage_checkpoints_total", "Checkpoints: segments synced, journal files freed.", counter, func(s *Stats) float64 { return float64(s.Checkpoints) }},
		{"waltz_storage_queue_bytes", "What waits for the journal, in bytes.", gauge, func(s *Stats) float64 { return float64(s.QueueBytes) }},
		{"waltz_storage_backlog_bytes", "Memory that waits for the segments, in bytes.", gauge, func(s *Stats) float64 { return float64(s.BacklogBytes) }},
		{"waltz_storage_replicas", "Replicas held.", gauge, func(s *Stats) float64 { return float64(s.Replicas) }},
		{"waltz_storage_damaged_replicas", "Replicas with damage. The partition's server heals what the others have; what stays needs waltz storage repair, or reset: waltz cluster status names which.", gauge, func(s *Stats) float64 { return float64(s.Damaged) }},
		{"waltz_storage_scrubbed_bytes_total", "Bytes that the background scrub has read and found whole.", counter, func(s *Stats) float64 { return float64(s.ScrubbedBytes) }},
		{"waltz_storage_scrub_passes_total", "Passes of the background scrub over everything.", counter, func(s *Stats) float64 { return float64(s.ScrubPasses) }},
		{"waltz_storage_scrub_damaged_ranges_total", "Damaged ranges that it found; anything but 0: look at the disk. If waltz_storage_damaged_replicas stays above 0, they need waltz storage repair.", counter, func(s *Stats) float64 { return float64(s.ScrubDamage) }},
		{"waltz_storage_scrub_last_pass_timestamp_seconds", "When its last pass ended, in seconds since 1970; 0 if none has.", gauge, func(s *Stats) float64 { return float64(micros(s.Scrub.LastEnded)) / 1e6 }},
		{"waltz_storage_scrub_progress_ratio", "How much of the present pass is done; 0 while none runs.", gauge, func(s *Stats) float64 {
			if !s.Scrub.Running {
				return 0
			}
			return min(1, float64(s.Scrub.Bytes)/float64(max(s.Scrub.Total, 1)))
		}},
		{"waltz_storage_full", "1 while the disk is full and appends are refused.", gauge, func(s *Stats) float64 {
			if s.Full {
				return 1
			}
			return 0
		}},
	}
}

// Collector returns a Prometheus collector of the storage's metrics. It takes a
// snapshot at each scrape and costs nothing between.
func (s *Storage) Collector() prometheus.Collector {
	c := &collector{storage: s, metrics: Metrics()}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.Name, m.Help, nil, nil))
	}
	return c
}

type collector struct {
	storage *Storage
	metrics []Metric
	descs   []*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	stats := c.storage.Stats()
	for i, m := range c.metrics {
		to <- prometheus.MustNewConstMetric(c.descs[i], m.Type, m.value(&stats))
	}
}
