package api

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// httpMetrics are what is counted of requests. Routes are templates, so that their
// number is bounded, and so is that of methods.
type httpMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newHTTPMetrics(to prometheus.Registerer) (*httpMetrics, error) {
	m := &httpMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ledger_http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "ledger_http_request_seconds", Help: "Time from a request to its answer.",
			Buckets: prometheus.ExponentialBucketsRange(0.0005, 10, 14),
		}, []string{"method", "route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ledger_http_requests_in_flight", Help: "Requests under way.",
		}),
	}
	return m, errors.Join(to.Register(m.requests), to.Register(m.seconds), to.Register(m.inFlight))
}

func (m *httpMetrics) observe(method, route string, status int, took time.Duration) {
	switch method {
	case "GET", "PUT", "POST":
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}
