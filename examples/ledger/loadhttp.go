package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

type loadFlags struct {
	urls             []string
	connections      int
	accounts         int
	first            int64
	duration, warmup time.Duration
	seed             uint64
	baseline         string
}

// loadDeposit is what each account is opened with: so much that none runs dry.
const loadDeposit = 100_000_000

func newLoadCommand() *cobra.Command {
	var f loadFlags
	c := &cobra.Command{
		Use:   "load",
		Short: "Measure transfers through ledger serve",
		Long: `Opens accounts, then transfers between accounts drawn at random over as many
connections as asked for, each followed by the next when it is answered. What is
answered with 503 is sent again under its key, and its time goes on. So is what an
instance does not answer, to the next one of several; these are counted as failures, with
which the exit code is 1.

With --baseline the same load is then put on plain SQL: SERIALIZABLE transactions
of five statements on a table of that PostgreSQL, repeated when they are refused.`,
		Example: `  ledger load --url http://127.0.0.1:8080 --connections 64 --accounts 10000
  ledger load --url http://127.0.0.1:8080,http://127.0.0.1:8081 --accounts 100 --output json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return measure(c, f)
		},
	}
	c.Flags().StringSliceVar(&f.urls, "url", nil, "where ledger serve serves; of several, each gets an equal share (required)")
	c.Flags().IntVar(&f.connections, "connections", 64, "how many connections transfer at a time")
	c.Flags().IntVar(&f.accounts, "accounts", 10_000, "how many accounts, 2 and up")
	c.Flags().Int64Var(&f.first, "first-account", 1_000_001, "number of the first of them")
	c.Flags().DurationVar(&f.duration, "duration", 10*time.Second, "how long to measure")
	c.Flags().DurationVar(&f.warmup, "warmup", 2*time.Second, "how long to run before that")
	c.Flags().Uint64Var(&f.seed, "seed", 1, "what accounts and amounts are drawn from")
	c.Flags().StringVar(&f.baseline, "baseline", "", "also measure SERIALIZABLE transfers in plain SQL: postgres://user:password@host:port/database (default: not)")
	outputs(c, "table", "json")
	return c
}

func (f *loadFlags) check(c *cobra.Command) error {
	if len(f.urls) == 0 {
		return usagef("%s needs --url; see %[1]s --help", c.CommandPath())
	}
	for _, s := range f.urls {
		if u, err := url.Parse(s); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return usagef("--url %q: want http://host:port", s)
		}
	}
	switch {
	case f.connections < 1 || f.connections > 10_000:
		return usagef("--connections %d: want 1 to 10,000", f.connections)
	case f.accounts < 2:
		return usagef("--accounts %d: want at least 2", f.accounts)
	case f.first < 1:
		return usagef("--first-account %d: want at least 1", f.first)
	case f.duration <= 0 || f.warmup < 0:
		return usagef("--duration %s, --warmup %s: want more than 0, and at least 0", f.duration, f.warmup)
	}
	return nil
}

// loadResult is the result; the baseline's fields are there if it was asked for.
type loadResult struct {
	Connections     int     `json:"connections"`
	Accounts        int     `json:"accounts"`
	Seconds         float64 `json:"seconds"`
	Transfers       int64   `json:"transfers"`
	TransfersPerSec float64 `json:"transfers_per_sec"`
	P50Ms           float64 `json:"p50_ms"`
	P99Ms           float64 `json:"p99_ms"`
	Declined        int64   `json:"declined"`
	Unavailable     int64   `json:"unavailable"` // answers 503; their transfers were sent again
	Failures        int64   `json:"failures"`    // requests without an answer; they were sent to another instance

	BaselineTransfersPerSec float64 `json:"baseline_transfers_per_sec,omitempty"`
	BaselineP50Ms           float64 `json:"baseline_p50_ms,omitempty"`
	BaselineP99Ms           float64 `json:"baseline_p99_ms,omitempty"`
	BaselineRetries         int64   `json:"baseline_retries,omitempty"`
}

func measure(c *cobra.Command, f loadFlags) error {
	ctx := c.Context()
	g := newGateway(f)
	defer g.client.CloseIdleConnections()
	fmt.Fprintf(c.ErrOrStderr(), "opening %s accounts\n", count(f.accounts))
	if err := openForLoad(ctx, f, g); err != nil {
		return err
	}
	fmt.Fprintf(c.ErrOrStderr(), "transferring over %d connections for %s\n", f.connections, f.warmup+f.duration)
	t, err := closedLoop(ctx, f, g.transfer)
	if err != nil {
		return err
	}
	r := loadResult{
		Connections: f.connections, Accounts: f.accounts, Seconds: f.duration.Seconds(), Transfers: t.done.Load(),
		TransfersPerSec: t.perSec(f), P50Ms: t.times.ms(50), P99Ms: t.times.ms(99),
		Declined: t.declined.Load(), Unavailable: t.again.Load(), Failures: g.failures.Load(),
	}
	if f.baseline != "" {
		fmt.Fprintf(c.ErrOrStderr(), "the same in plain SQL\n")
		b, err := measureBaseline(ctx, f)
		if err != nil {
			return fmt.Errorf("baseline: %w", err)
		}
		r.BaselineTransfersPerSec, r.BaselineP50Ms, r.BaselineP99Ms, r.BaselineRetries = b.perSec(f), b.times.ms(50), b.times.ms(99), b.again.Load()
	}
	if err := r.print(c); err != nil {
		return err
	}
	if r.Failures > 0 {
		return fmt.Errorf("%s requests got no answer, and were sent to another instance", count(r.Failures))
	}
	return nil
}

func (r loadResult) print(c *cobra.Command) error {
	if output(c) == "json" {
		return printJSON(c.OutOrStdout(), r)
	}
	fields := [][2]string{
		{"transfers", fmt.Sprintf("%s over %d connections between %s accounts", count(r.Transfers), r.Connections, count(r.Accounts))},
		{"throughput", count(int64(r.TransfersPerSec)) + " transfers/s"},
		{"latency", fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", r.P50Ms, r.P99Ms)},
		{"declined", count(r.Declined)},
		{"unavailable", count(r.Unavailable)},
		{"failures", count(r.Failures)},
	}
	if r.BaselineTransfersPerSec > 0 {
		fields = append(fields,
			[2]string{"plain SQL", count(int64(r.BaselineTransfersPerSec)) + " transfers/s"},
			[2]string{"its latency", fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", r.BaselineP50Ms, r.BaselineP99Ms)},
			[2]string{"its retries", count(r.BaselineRetries)})
	}
	return printFields(c.OutOrStdout(), fields...)
}

func openForLoad(ctx context.Context, f loadFlags, g *gateway) error {
	var next atomic.Int64
	workers, ctx := errgroup.WithContext(ctx)
	for connection := range f.connections {
		workers.Go(func() error {
			for i := next.Add(1) - 1; i < int64(f.accounts); i = next.Add(1) - 1 {
				if err := g.open(ctx, connection, f.first+i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return workers.Wait()
}

// draw is one transfer of the load.
type draw struct {
	connection       int
	number           int64
	from, to, amount int64
}

// tally is what a load came to, after the warm-up.
type tally struct {
	done, declined, again atomic.Int64
	times                 *latencies
}

func (t *tally) perSec(f loadFlags) float64 { return float64(t.done.Load()) / f.duration.Seconds() }

// closedLoop transfers on each connection, one after the other, until the time is up.
// transfer reports whether it was declined, and how often it was sent again.
func closedLoop(ctx context.Context, f loadFlags, transfer func(context.Context, draw) (declined bool, again int64, err error)) (*tally, error) {
	t := &tally{times: newLatencies()}
	began := time.Now()
	from, until := began.Add(f.warmup), began.Add(f.warmup+f.duration)
	workers, ctx := errgroup.WithContext(ctx)
	for i := range f.connections {
		rng := rand.New(rand.NewPCG(f.seed, uint64(i)))
		workers.Go(func() error {
			for n := int64(0); ; n++ {
				start := time.Now()
				if start.After(until) {
					return nil
				}
				declined, again, err := transfer(ctx, f.draw(rng, i, n))
				if err != nil {
					return err
				}
				if end := time.Now(); start.After(from) && end.Before(until) {
					t.add(end.Sub(start), declined, again)
				}
			}
		})
	}
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	if t.done.Load() == 0 {
		return nil, errors.New("not one transfer was done: measure for longer")
	}
	return t, nil
}

func (t *tally) add(took time.Duration, declined bool, again int64) {
	t.again.Add(again)
	if declined {
		t.declined.Add(1)
		return
	}
	t.done.Add(1)
	t.times.add(took)
}

func (f *loadFlags) draw(rng *rand.Rand, connection int, number int64) draw {
	from := rng.IntN(f.accounts)
	to := (from + 1 + rng.IntN(f.accounts-1)) % f.accounts
	return draw{connection, number, f.first + int64(from), f.first + int64(to), 1 + rng.Int64N(100)}
}
