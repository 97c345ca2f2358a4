package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier/metrics"
	"github.com/waltz-log/waltz/examples/ledger/api"
	"github.com/waltz-log/waltz/txcontext"
)

type serveFlags struct {
	log, db, listen string
	partitions      int
	requestMax      time.Duration
	drain           time.Duration
	inFlight        int
	onPoison        string
}

func newServe() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Serve the ledger as JSON over HTTP",
		Long: `Opens accounts, transfers, and tells balances, statements and what became of
transfers. /openapi.yaml describes it all. Beside it: /healthz, /readyz, /metrics.

Any number of instances may serve one log and one database, each on its own
address: they share the load, and any may be killed. One line on stdout tells that
it is ready, and where.

SIGTERM and SIGINT drain it: /readyz says so, answers close their connections, what
was taken is answered, then it ends with exit code 0.

While the log can't be reached, a write is refused with 503 at once, but for one that
waits for it; while it is only slow, after --request-max.`,
		Example: `  ledger serve --log waltz://127.0.0.1:7171 --db sqlite:///tmp/bank/view.db --listen 127.0.0.1:8080
  curl -X PUT -H 'Content-Type: application/json' -d '{"deposit_minor":10000}' http://127.0.0.1:8080/v1/accounts/1
  curl -H 'Content-Type: application/json' -H 'Idempotency-Key: rent-2026-01' \
    -d '{"from":1,"to":2,"amount_minor":2500}' http://127.0.0.1:8080/v1/transfers`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return serve(c, f)
		},
	}
	c.Flags().StringVar(&f.log, "log", "", "the log: waltz://host:port,... or file:///abs/dir, which only one process can have (required)")
	c.Flags().StringVar(&f.db, "db", "", viewForms())
	c.Flags().StringVar(&f.listen, "listen", "127.0.0.1:8080", "address to serve on, host:port; port 0 picks one")
	c.Flags().IntVar(&f.partitions, "partitions", 0, "how many partitions the log has; one that exists must have as many (default: 1, or as it is)")
	c.Flags().DurationVar(&f.requestMax, "request-max", 5*time.Second, "how long a request may take, waits included")
	c.Flags().DurationVar(&f.drain, "drain", 10*time.Second, "how long to wait at the end for requests that are under way")
	c.Flags().IntVar(&f.inFlight, "in-flight", 1024, "how many requests may be under way; more are refused")
	poisonFlag(c, &f.onPoison)
	outputs(c, "table", "json")
	return c
}

func (f *serveFlags) check(c *cobra.Command) error {
	if err := need(c, "log", "db", "listen"); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return usagef("--listen %q: want host:port", f.listen)
	}
	if err := checkPartitions(c, f.partitions); err != nil {
		return err
	}
	switch {
	case f.requestMax < 10*time.Millisecond || f.requestMax > time.Hour:
		return usagef("--request-max %s: want 10ms to 1h", f.requestMax)
	case f.drain <= 0:
		return usagef("--drain %s: want more than 0", f.drain)
	case f.inFlight < 1 || f.inFlight > 100_000:
		return usagef("--in-flight %d: want 1 to 100,000", f.inFlight)
	}
	return nil
}

// served is what is printed when it is ready.
type served struct {
	Address    string `json:"address"`
	Partitions int    `json:"partitions"`
}

func serve(c *cobra.Command, f serveFlags) (err error) {
	logger, err := logger(c)
	if err != nil {
		return err
	}
	policy, err := policyOf(f.onPoison)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	registry, counts := newServeMetrics()
	circuit := &circuit{}
	h, err := openHouse(c.Context(), houseOptions{
		log: f.log, db: f.db, partitions: f.partitions, policy: policy, logger: logger, clientHooks: circuit.watch(counts.client()),
		runner: txcontext.Options{InFlightMax: f.inFlight, AttemptsMax: -1, Hooks: counts.runner()},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	registry.MustRegister(metrics.New(h.view))
	d := newDesk(h, circuit)
	defer d.close()
	a, err := api.New(api.Options{
		Ledger: d, RequestMax: f.requestMax, InFlightMax: f.inFlight, Metrics: registry, Logger: logger,
	})
	if err != nil {
		return err
	}
	// What serves the last requests must outlive the signal that ends the taking.
	running := context.WithoutCancel(c.Context())
	return h.during(running, true, func(ctx context.Context) error {
		if err := printServed(c, served{"http://" + listener.Addr().String(), h.client.Partitions()}); err != nil {
			return err
		}
		return newServer(f, a.Handler(), &d.draining).serve(c.Context(), ctx, listener)
	})
}

func printServed(c *cobra.Command, s served) error {
	if output(c) == "json" {
		return printJSON(c.OutOrStdout(), s)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "serving %s: %s, described at %[1]s/openapi.yaml\n", s.Address, partitionsText(s.Partitions))
	return err
}

func partitionsText(n int) string {
	if n == 1 {
		return "1 partition"
	}
	return count(n) + " partitions"
}

func newServeMetrics() (*prometheus.Registry, *counts) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry, newCounts(registry)
}
