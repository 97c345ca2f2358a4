package main

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// runs counts what became of transaction contexts.
type runs struct {
	ended   *prometheus.HistogramVec
	retried prometheus.Counter
}

func newRuns(registry prometheus.Registerer) *runs {
	r := &runs{
		ended: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stock_run_seconds", Help: "How long transaction contexts took, by outcome.",
		}, []string{"outcome"}),
		retried: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "stock_retried_total", Help: "Executions that lost a lock, or were stale, and were done again.",
		}),
	}
	registry.MustRegister(r.ended, r.retried)
	return r
}

func (r *runs) hooks() txcontext.Hooks {
	return txcontext.Hooks{
		Retried: func(waltz.Partition, error, time.Duration) { r.retried.Inc() },
		Ended: func(_ txcontext.Result, took time.Duration, err error) {
			r.ended.WithLabelValues(outcomeOf(err)).Observe(took.Seconds())
		},
	}
}

func outcomeOf(err error) string {
	var declined *txcontext.DeclinedError
	var unknown *waltz.UnknownError
	switch {
	case err == nil:
		return "committed"
	case errors.As(err, &declined):
		return "declined"
	case errors.As(err, &unknown):
		return "unknown"
	}
	return "failed"
}
