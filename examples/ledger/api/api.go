package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// Ledger is what is served. All methods are called concurrently.
type Ledger interface {
	// Partitions tells how many the log has, and PartitionOf where an account lives.
	Partitions() int
	PartitionOf(a ledger.Account) waltz.Partition
	// Open and Transfer are those of ledger.Ledger.
	Open(ctx context.Context, a ledger.Account, depositMinor int64, on ledger.Date, opts ...txcontext.Option) (txcontext.Result, error)
	Transfer(ctx context.Context, o ledger.Order, opts ...txcontext.Option) (txcontext.Result, error)
	// WaitFor returns when the view shows a transaction, or when ctx ends.
	WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error
	// Read calls read with one state of the view, and a partition's mark in it.
	Read(ctx context.Context, p waltz.Partition, read func(ctx context.Context, s view.Snapshot, mark waltz.ID) error) error
	// Passes reports whether an error is trouble that passes.
	Passes(err error) bool
	// Ready says what keeps the ledger from serving, by check; nil is nothing.
	Ready(ctx context.Context) map[string]error
}

// Options of an API. All fields but Ledger have defaults.
type Options struct {
	Ledger Ledger // required

	// RequestMax bounds the time of a request, waits included. Default 5s; 1ms and up.
	RequestMax time.Duration
	// InFlightMax bounds the requests under way; one more is refused. Default 1024.
	InFlightMax int
	// BodyBytesMax bounds a request's body. Default 16 KiB.
	BodyBytesMax int64
	// ReadyMax bounds the time of a readiness check. Default 1s.
	ReadyMax time.Duration
	// Today returns the booking date. Default: today in UTC.
	Today func() ledger.Date
	// Metrics is what /metrics shows; the API adds its own. Default: those only.
	Metrics *prometheus.Registry
	// Logger gets a line for each request that failed and should not have, and at debug
	// level for each that could not be served. Default: none.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	setDefault(&o.RequestMax, 5*time.Second)
	setDefault(&o.InFlightMax, 1024)
	setDefault(&o.BodyBytesMax, 16<<10)
	setDefault(&o.ReadyMax, time.Second)
	if o.Today == nil {
		o.Today = func() ledger.Date { return ledger.DateOf(time.Now()) }
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	for _, c := range []struct {
		bad  bool
		what string
	}{
		{o.Ledger == nil, "Ledger is required"},
		{o.RequestMax < time.Millisecond, "RequestMax: want at least 1ms"},
		{o.InFlightMax < 1, "InFlightMax: want at least 1"},
		{o.BodyBytesMax < 1, "BodyBytesMax: want at least 1"},
		{o.ReadyMax < time.Millisecond, "ReadyMax: want at least 1ms"},
	} {
		if c.bad {
			errs = append(errs, errors.New(c.what))
		}
	}
	return o, errors.Join(errs...)
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// API serves a ledger. Make it with New.
type API struct {
	Options
	metrics *httpMetrics
	slots   chan struct{} // as many as requests may be under way
	yaml    []byte
	json    []byte
}

// route is one operation. Those of the ledger itself are limited, those that tell
// how it is are not.
type route struct {
	method, path string
	limited      bool
	serve        func(w http.ResponseWriter, r *http.Request) error
}

func (a *API) routes() []route {
	return []route{
		{"PUT", "/v1/accounts/{account}", true, a.openAccount},
		{"GET", "/v1/accounts/{account}", true, a.account},
		{"GET", "/v1/accounts/{account}/statement", true, a.statement},
		{"POST", "/v1/transfers", true, a.transfer},
		{"GET", "/v1/transfers/{transfer}", true, a.transferStatus},
		{"GET", "/healthz", false, a.health},
		{"GET", "/readyz", false, a.ready},
		{"GET", "/metrics", false, a.showMetrics},
		{"GET", "/openapi.yaml", false, a.openAPIYAML},
		{"GET", "/openapi.json", false, a.openAPIJSON},
	}
}

// New checks the options and registers the API's metrics.
func New(o Options) (*API, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	a := &API{Options: o, slots: make(chan struct{}, o.InFlightMax)}
	if a.yaml, a.json, err = document(); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	if a.metrics, err = newHTTPMetrics(o.Metrics); err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	return a, nil
}

// Handler serves all routes. What fits none is a problem, too.
func (a *API) Handler() http.Handler {
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, r := range a.routes() {
		mux.Handle(r.method+" "+r.path, a.operation(r))
		allowed[r.path] = append(allowed[r.path], r.method)
	}
	for path, methods := range allowed {
		mux.Handle(path, a.operation(route{path: path, serve: func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return methodNotAllowed.because("%s is not one of %s", r.Method, strings.Join(methods, ", "))
		}}))
	}
	mux.Handle("/", a.operation(route{path: "other", serve: func(_ http.ResponseWriter, r *http.Request) error {
		return noRoute.because("there is nothing at %s; see /openapi.yaml", r.URL.Path)
	}}))
	return mux
}
