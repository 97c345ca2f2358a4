// Package metrics shows appliers to Prometheus. It stands apart so that an
// application that does not want Prometheus does not import it: it only reads what
// Status returns, at each scrape.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltz-log/waltz/applier"
)

// View is what is read of an applier.
type View interface {
	Name() string
	Status() []applier.PartitionStatus
}

// Collector collects the metrics of views. Register it once.
type Collector struct {
	views []View
	now   func() time.Time
}

// New makes a collector of views.
func New(views ...View) *Collector { return &Collector{views, time.Now} }

// metric is one entry of the catalogue.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(applier.PartitionStatus, time.Time) float64
}

func gauge(name, help string, value func(applier.PartitionStatus, time.Time) float64) metric {
	return metric{describe(name, help), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(applier.PartitionStatus) uint64) metric {
	return metric{describe(name, help), prometheus.CounterValue, func(s applier.PartitionStatus, _ time.Time) float64 { return float64(value(s)) }}
}

func describe(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("waltz_applier_"+name, help, append([]string{"view", "partition"}, more...), nil)
}

// catalogue is all metrics but the state. Alarms worth having: retrying or stopped
// for long or needing somebody, a lag that grows, dead letters or skipped ones.
var catalogue = []metric{
	gauge("high_water_mark", "Highest transaction ID that the view holds.", func(s applier.PartitionStatus, _ time.Time) float64 { return float64(s.HighWaterMark) }),
	gauge("lag_transactions", "Log's end minus the view's high-water mark, as this instance last heard.", func(s applier.PartitionStatus, now time.Time) float64 { return float64(s.Lag(now).Transactions) }),
	gauge("lag_seconds", "Age of the oldest transaction that is here and not applied.", func(s applier.PartitionStatus, now time.Time) float64 { return s.Lag(now).Age.Seconds() }),
	gauge("state_seconds", "How long the state has lasted.", func(s applier.PartitionStatus, now time.Time) float64 { return now.Sub(s.Since).Seconds() }),
	gauge("epoch", "Number that grows with each instance that takes over.", func(s applier.PartitionStatus, _ time.Time) float64 { return float64(s.Epoch) }),
	gauge("dead_letters", "Dead letters that are neither retried nor discarded, with those held behind them: the view is incomplete.", func(s applier.PartitionStatus, _ time.Time) float64 { return float64(s.Dead) }),
	gauge("held_letters", "Those of the dead letters that wait behind another.", func(s applier.PartitionStatus, _ time.Time) float64 { return float64(s.Held) }),
	gauge("needs_somebody", "1 if the partition has stopped, or has trouble that does not pass by itself, such as a full disk.", needsSomebody),
	gauge("skipped", "Transactions that the policy Skip has passed, ever: their effects are lost.", func(s applier.PartitionStatus, _ time.Time) float64 { return float64(s.Skipped) }),
	counter("retried_letters_total", "Dead letters that this instance applied after all.", func(s applier.PartitionStatus) uint64 { return s.Retried }),
	counter("applied_total", "Transactions with effects that this instance applied.", func(s applier.PartitionStatus) uint64 { return s.Applied }),
	counter("batches_total", "SQL transactions that this instance committed.", func(s applier.PartitionStatus) uint64 { return s.Batches }),
	counter("skipped_already_applied_total", "Transactions that another instance had applied already.", func(s applier.PartitionStatus) uint64 { return s.Already }),
	counter("lost_total", "Compare-and-sets that another instance won.", func(s applier.PartitionStatus) uint64 { return s.Lost }),
	counter("retries_total", "SQL transactions tried again because the database had trouble.", func(s applier.PartitionStatus) uint64 { return s.Retries }),
}

func needsSomebody(s applier.PartitionStatus, _ time.Time) float64 {
	if s.NeedsSomebody() {
		return 1
	}
	return 0
}

var state = describe("state", "1 for the state that the partition is in.", "state")

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range catalogue {
		to <- m.desc
	}
	to <- state
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	now := c.now()
	for _, v := range c.views {
		for _, s := range v.Status() {
			partition := s.Partition.String()
			for _, m := range catalogue {
				to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s, now), v.Name(), partition)
			}
			to <- prometheus.MustNewConstMetric(state, prometheus.GaugeValue, 1, v.Name(), partition, s.State.String())
		}
	}
}
