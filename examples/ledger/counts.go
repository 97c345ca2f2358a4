package main

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// counts are the metrics of the log's client and of the transaction contexts.
type counts struct {
	appends      *prometheus.CounterVec
	appendTime   prometheus.Histogram
	connected    prometheus.Gauge
	disconnects  prometheus.Counter
	unavailable  prometheus.Counter
	feedsBroken  prometheus.Counter
	runs         *prometheus.CounterVec
	runTime      prometheus.Histogram
	retries      prometheus.Counter
	timesApplied prometheus.Histogram
}

func newCounts(to prometheus.Registerer) *counts {
	buckets := prometheus.ExponentialBucketsRange(0.0001, 10, 14)
	counter := func(name, help string) prometheus.CounterOpts { return prometheus.CounterOpts{Name: name, Help: help} }
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	c := &counts{
		appends:      prometheus.NewCounterVec(counter("waltz_client_appends_total", "Appends by how they ended."), []string{"outcome"}),
		appendTime:   histogram("waltz_client_append_seconds", "Time of an append, resending included."),
		connected:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "waltz_client_append_streams", Help: "Append streams that are ready."}),
		disconnects:  prometheus.NewCounter(counter("waltz_client_disconnects_total", "Append streams that broke.")),
		unavailable:  prometheus.NewCounter(counter("waltz_client_refused_total", "Times that a partition began to refuse appends for now.")),
		feedsBroken:  prometheus.NewCounter(counter("waltz_client_feeds_broken_total", "Feeds that were interrupted and resumed.")),
		runs:         prometheus.NewCounterVec(counter("ledger_runs_total", "Transaction contexts by how they ended."), []string{"outcome"}),
		runTime:      histogram("ledger_run_seconds", "Time of a transaction context until its outcome."),
		retries:      prometheus.NewCounter(counter("ledger_retries_total", "Executions repeated since others were faster.")),
		timesApplied: histogram("ledger_applied_seconds", "Time of a transaction context until the view shows it."),
	}
	to.MustRegister(c.appends, c.appendTime, c.connected, c.disconnects, c.unavailable, c.feedsBroken, c.runs, c.runTime, c.retries, c.timesApplied)
	return c
}

func (c *counts) client() waltz.Hooks {
	return waltz.Hooks{
		Appended: func(_ waltz.Partition, took time.Duration, err error) {
			c.appends.WithLabelValues(outcome(err)).Inc()
			c.appendTime.Observe(took.Seconds())
		},
		Connected: func(string) { c.connected.Inc() },
		Disconnected: func(string, int, error) {
			c.connected.Dec()
			c.disconnects.Inc()
		},
		Refused:    func(waltz.Partition, error) { c.unavailable.Inc() },
		FeedBroken: func(waltz.Partition, waltz.ID, error) { c.feedsBroken.Inc() },
	}
}

func (c *counts) runner() txcontext.Hooks {
	return txcontext.Hooks{
		Retried: func(waltz.Partition, error, time.Duration) { c.retries.Inc() },
		Ended: func(_ txcontext.Result, took time.Duration, err error) {
			c.runs.WithLabelValues(outcome(err)).Inc()
			c.runTime.Observe(took.Seconds())
		},
		Applied: func(_ txcontext.Result, took time.Duration) { c.timesApplied.Observe(took.Seconds()) },
	}
}

// outcome is how an append or a run ended, as a label.
func outcome(err error) string {
	if err == nil {
		return "committed"
	}
	if _, is := errors.AsType[*waltz.LockConflictError](err); is {
		return "conflict"
	}
	if _, is := errors.AsType[*waltz.StaleError](err); is {
		return "stale"
	}
	if _, is := errors.AsType[*waltz.UnknownError](err); is {
		return "unknown"
	}
	if _, is := errors.AsType[*txcontext.DeclinedError](err); is {
		return "declined"
	}
	if _, is := errors.AsType[*txcontext.ExpiredError](err); is {
		return "expired"
	}
	if _, is := errors.AsType[*txcontext.NotAppliedError](err); is {
		return "not-applied"
	}
	return "failed"
}
