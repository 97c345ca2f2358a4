package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/internal/dbtest"
)

// ledgerInstance is `ledger serve` on an address of its own.
type ledgerInstance struct {
	t       testing.TB
	argv    []string
	url     string
	process *process
	starts  int
}

func newLedger(t testing.TB, log *devServer, db string) *ledgerInstance {
	t.Helper()
	addr := freeAddress(t)
	return &ledgerInstance{t: t, url: "http://" + addr, argv: []string{
		command(t, "./examples/ledger"), "serve", "--log", log.url(), "--db", db, "--listen", addr, "--log-level", "error",
	}}
}

func (l *ledgerInstance) launch() {
	l.t.Helper()
	l.starts++
	l.process = start(l.t, fmt.Sprintf("ledger serve at %s, start %d", l.url, l.starts), nil, l.argv[0], l.argv[1:]...)
}

// ledgerAnswer is what a request came to; status 0 is no answer.
type ledgerAnswer struct {
	status int
	text   string
	retry  string
}

func callLedger(ctx context.Context, method, url, key, body string) ledgerAnswer {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewBufferString(body))
	if err != nil {
		return ledgerAnswer{text: err.Error()}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return ledgerAnswer{text: err.Error()}
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return ledgerAnswer{text: err.Error()}
	}
	return ledgerAnswer{res.StatusCode, string(text), res.Header.Get("Retry-After")}
}

// final calls instance after instance until one gives an answer that stands.
func final(ctx context.Context, t testing.TB, all []*ledgerInstance, method, path, key, body string) ledgerAnswer {
	pause := time.NewTicker(5 * time.Millisecond)
	defer pause.Stop()
	for i := rand.IntN(len(all)); ; i++ {
		a := callLedger(ctx, method, all[i%len(all)].url+path, key, body)
		if a.status == http.StatusServiceUnavailable {
			require.NotEmpty(t, a.retry, a.text)
		} else if a.status != 0 {
			return a
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			require.Fail(t, "no answer that stands", "%s %s: last: %+v", method, path, a)
			return a
		}
	}
}

// ledgerRun is a load on several instances, and what it should come to.
type ledgerRun struct {
	testing.TB
	ctx       context.Context
	instances []*ledgerInstance
	accounts  int

	mu       sync.Mutex
	balances []int64           // by account, from 1
	answers  map[string]string // the first answer to each key
	bodies   map[string]string
}

const ledgerDeposit = 1000

func (r *ledgerRun) open() {
	var wg sync.WaitGroup
	for a := 1; a <= r.accounts; a++ {
		wg.Go(func() {
			got := final(r.ctx, r, r.instances, "PUT", fmt.Sprintf("/v1/accounts/%d", a), "", fmt.Sprintf(`{"deposit_minor":%d}`, ledgerDeposit))
			require.Equal(r, http.StatusCreated, got.status, got.text)
		})
		r.balances[a] = ledgerDeposit
	}
	wg.Wait()
}

// transfer makes one transfer, and books it in the model if it was done.
func (r *ledgerRun) transfer(key string) {
	from, to, amount := 1+rand.IntN(r.accounts), 1+rand.IntN(r.accounts-1), 1+rand.IntN(200)
	if to >= from {
		to++
	}
	body := fmt.Sprintf(`{"from":%d,"to":%d,"amount_minor":%d}`, from, to, amount)
	got := final(r.ctx, r, r.instances, "POST", "/v1/transfers", key, body)
	switch got.status {
	case http.StatusCreated, http.StatusAccepted:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.balances[from] -= int64(amount)
		r.balances[to] += int64(amount)
		r.answers[key], r.bodies[key] = got.text, body
	case http.StatusConflict:
		require.Contains(r, got.text, "insufficient-balance")
	default:
		require.Fail(r, "not an answer to expect", "%+v", got)
	}
}

// settled reports whether the accounts have what the model has.
func (r *ledgerRun) settled() bool {
	for a := 1; a <= r.accounts; a++ {
		var b struct {
			Balance int64 `json:"balance_minor"`
		}
		got := callLedger(r.ctx, "GET", fmt.Sprintf("%s/v1/accounts/%d", r.instances[a%len(r.instances)].url, a), "", "")
		if got.status != http.StatusOK || json.Unmarshal([]byte(got.text), &b) != nil || b.Balance != r.balances[a] {
			return false
		}
	}
	return true
}

// Instances share one database, by one address of it or another, and one log. Whichever is killed, and when the log is,
// each transfer is done once, and sent again anywhere gets the answer of the first time.
func testLedgerInstances(t *testing.T, db string, others ...string) {
	transfers, name := sized(600, 100_000, "transfers")
	t.Run(name, func(t *testing.T) {
		log := newServer(t, 3)
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience())
		defer cancel()
		r := &ledgerRun{TB: t, ctx: ctx, accounts: 24, balances: make([]int64, 25), answers: map[string]string{}, bodies: map[string]string{}}
		addresses := append([]string{db}, others...)
		for i := range 3 {
			r.instances = append(r.instances, newLedger(t, log, addresses[i%len(addresses)]))
		}
		for _, l := range r.instances { // all at once, from an empty database
			l.launch()
		}
		defer http.DefaultClient.CloseIdleConnections()
		r.open()

		var done atomic.Int64
		var clients sync.WaitGroup
		for range 16 {
			clients.Go(func() {
				for n := done.Add(1); n <= int64(transfers); n = done.Add(1) {
					r.transfer(fmt.Sprintf("t-%d", n))
				}
			})
		}
		for kills := range int64(6) {
			eventually(t, "more transfers", func() bool { return done.Load() > (kills+1)*int64(transfers)/8 })
			if kills == 3 {
				log.kill()
				log.start()
				continue
			}
			l := r.instances[kills%3]
			l.process.kill()
			l.launch()
		}
		clients.Wait()
		require.NotEmpty(t, r.answers)
		eventually(t, "the balances of the model", r.settled)
		for key, first := range r.answers {
			again := final(ctx, t, r.instances, "POST", "/v1/transfers", key, r.bodies[key])
			require.Equal(t, first, again.text)
		}
		for _, l := range r.instances {
			eventually(t, "readiness", func() bool { return callLedger(ctx, "GET", l.url+"/readyz", "", "").status == http.StatusOK })
			http.DefaultClient.CloseIdleConnections()
			require.NoError(t, l.process.cmd.Process.Signal(syscall.SIGTERM))
		}
		for _, l := range r.instances {
			l.process.wait(t)
		}
		stdout, stderr, code := output(t, command(t, "./examples/ledger"), "check", "--log", log.url(), "--db", db)
		require.Zero(t, code, "%s\n%s", stdout, stderr)
	})
}

func TestLedgerInstancesOnSQLite(t *testing.T) {
	testLedgerInstances(t, "sqlite://"+filepath.Join(t.TempDir(), "view.db"))
}

// One of the instances is behind a pooler in transaction mode.
func TestLedgerInstancesOnPostgreSQL(t *testing.T) {
	server := dbtest.PostgreSQL(t)
	direct := server.NewDatabase(t)
	u, err := url.Parse(direct)
	require.NoError(t, err)
	pooled := dbtest.PgBouncer(t, server, "transaction").URL(strings.TrimPrefix(u.Path, "/"))
	testLedgerInstances(t, direct, pooled)
}

func TestLedgerInstancesOnMariaDB(t *testing.T) {
	testLedgerInstances(t, dbtest.MariaDB(t).NewDatabase(t))
}

// While the log is away, what needs it is answered with 503 in bounded time, what the
// view knows is answered as ever, and readiness tells. It goes on by itself.
func TestLedgerWithoutItsLog(t *testing.T) {
	log := newServer(t, 1)
	l := newLedger(t, log, "sqlite://"+filepath.Join(t.TempDir(), "view.db"))
	l.argv = append(l.argv, "--request-max", "300ms")
	l.launch()
	all := []*ledgerInstance{l}
	defer http.DefaultClient.CloseIdleConnections()
	for _, path := range []string{"/v1/accounts/1", "/v1/accounts/2"} {
		require.Equal(t, http.StatusCreated, final(t.Context(), t, all, "PUT", path, "", `{"deposit_minor":10}`).status)
	}
	log.kill()
	const transfer = `{"from":1,"to":2,"amount_minor":4}`
	away := callLedger(t.Context(), "POST", l.url+"/v1/transfers", "k", transfer)
	require.Equal(t, http.StatusServiceUnavailable, away.status, away.text)
	require.Contains(t, away.text, "log-unavailable")
	require.NotEmpty(t, away.retry)
	require.Equal(t, http.StatusOK, callLedger(t.Context(), "GET", l.url+"/v1/accounts/1", "", "").status)
	require.Equal(t, http.StatusOK, callLedger(t.Context(), "GET", l.url+"/healthz", "", "").status)
	require.Contains(t, callLedger(t.Context(), "GET", l.url+"/readyz", "", "").text, "not-ready")
	log.start()
	require.Equal(t, http.StatusCreated, final(t.Context(), t, all, "POST", "/v1/transfers", "k", transfer).status)
	require.Contains(t, final(t.Context(), t, all, "GET", "/v1/accounts/2?at_least=0:2", "", "").text, `"balance_minor":14,`)
	eventually(t, "readiness", func() bool {
		return callLedger(t.Context(), "GET", l.url+"/readyz", "", "").status == http.StatusOK
	})
}

// A log that is known to be away does not hold every write as long as a request may take:
// one waits for it, the others are refused at once.
func TestLedgerFailsFastWithoutItsLog(t *testing.T) {
	log := newServer(t, 1)
	l := newLedger(t, log, "sqlite://"+filepath.Join(t.TempDir(), "view.db"))
	l.argv = append(l.argv, "--request-max", "1m")
	l.launch()
	defer http.DefaultClient.CloseIdleConnections()
	opened := final(t.Context(), t, []*ledgerInstance{l}, "PUT", "/v1/accounts/1", "", `{"deposit_minor":10}`)
	require.Equal(t, http.StatusCreated, opened.status, opened.text)
	log.kill()
	waiting, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	open := func(ctx context.Context, account int) ledgerAnswer {
		return callLedger(ctx, "PUT", fmt.Sprintf("%s/v1/accounts/%d", l.url, account), "", `{}`)
	}
	eventually(t, "a write that is refused while others wait", func() bool {
		wait.Go(func() { open(waiting, 2) })
		soon, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		a := open(soon, 3)
		return a.status == http.StatusServiceUnavailable && strings.Contains(a.text, "log-unavailable")
	})
	cancel()
	wait.Wait()
	log.start()
	opened = final(t.Context(), t, []*ledgerInstance{l}, "PUT", "/v1/accounts/3", "", `{}`)
	require.Equal(t, http.StatusCreated, opened.status, opened.text)
}

// A transaction that is no entry under a header of the ledger's stops an instance, unless
// it was told to set it aside: then it goes on, and the operator finds it where it belongs.
func TestLedgerSetsPoisonAside(t *testing.T) {
	log := newServer(t, 1)
	db := "sqlite://" + filepath.Join(t.TempDir(), "view.db")
	waltz := command(t, "./cmd/waltz")
	_, stderr, code := output(t, waltz, "log", "append", "--log", log.url(), "--header", "10", "garbage")
	require.Zero(t, code, stderr)
	_, stderr, code = output(t, command(t, "./examples/ledger"), "serve", "--log", log.url(), "--db", db, "--listen", freeAddress(t))
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "stopped before transaction 0 (header 10, ledger.posted)")

	l := newLedger(t, log, db)
	l.argv = append(l.argv, "--on-poison", "dead-letter")
	l.launch()
	defer http.DefaultClient.CloseIdleConnections()
	opened := final(t.Context(), t, []*ledgerInstance{l}, "PUT", "/v1/accounts/1", "", `{"deposit_minor":10}`)
	require.Equal(t, http.StatusCreated, opened.status, opened.text)
	stdout, stderr, code := output(t, waltz, "dead", "list", "--db", db, "--view", "ledger")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "ledger.posted")
	stdout, _, code = output(t, command(t, "./examples/ledger"), "check", "--log", log.url(), "--db", db, "--output", "json")
	require.Equal(t, 1, code)
	require.Contains(t, stdout, "the view is incomplete: 1 dead letter is open: transaction 0 of partition 0")
	_, stderr, code = output(t, waltz, "dead", "discard", "--db", db, "--view", "ledger", "--partition", "0", "--id", "0", "--reason", "garbage")
	require.Zero(t, code, stderr)
	stdout, stderr, code = output(t, command(t, "./examples/ledger"), "check", "--log", log.url(), "--db", db, "--output", "json")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, `"check":"ok"`)
}

// SIGTERM while requests are under way: each that was taken is answered, and the
// process ends with 0.
func TestLedgerDrains(t *testing.T) {
	log := newServer(t, 1)
	l := newLedger(t, log, "sqlite://"+filepath.Join(t.TempDir(), "view.db"))
	l.launch()
	all := []*ledgerInstance{l}
	for _, path := range []string{"/v1/accounts/1", "/v1/accounts/2"} {
		require.Equal(t, http.StatusCreated, final(t.Context(), t, all, "PUT", path, "", `{"deposit_minor":1000000}`).status)
	}
	defer http.DefaultClient.CloseIdleConnections()
	var answered atomic.Int64
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := 0; ; n++ {
				a := callLedger(t.Context(), "POST", l.url+"/v1/transfers", fmt.Sprintf("%d-%d", i, n), `{"from":1,"to":2,"amount_minor":1}`)
				if a.status == 0 {
					return // it takes no more connections
				}
				require.Equal(t, http.StatusCreated, a.status, a.text)
				answered.Add(1)
			}
		})
	}
	eventually(t, "some answers", func() bool { return answered.Load() > 50 })
	require.NoError(t, l.process.cmd.Process.Signal(syscall.SIGTERM))
	l.process.wait(t)
	clients.Wait()
	l.launch()
	eventually(t, "what was answered, and at most what was cut off besides", func() bool {
		var b struct {
			Balance int64 `json:"balance_minor"`
		}
		got := callLedger(t.Context(), "GET", l.url+"/v1/accounts/2", "", "")
		return got.status == http.StatusOK && json.Unmarshal([]byte(got.text), &b) == nil && b.Balance == 1000000+answered.Load()
	})
}

// While the database is away, everything is answered with 503 in bounded time. It goes
// on by itself, and what was unknown is found out by sending it again.
func TestLedgerWithoutItsDatabase(t *testing.T) {
	log := newServer(t, 2)
	server := dbtest.PostgreSQL(t)
	l := newLedger(t, log, server.NewDatabase(t))
	l.argv = append(l.argv, "--request-max", "1s")
	l.launch()
	all := []*ledgerInstance{l}
	defer http.DefaultClient.CloseIdleConnections()
	for _, path := range []string{"/v1/accounts/1", "/v1/accounts/2"} {
		require.Equal(t, http.StatusCreated, final(t.Context(), t, all, "PUT", path, "", `{"deposit_minor":10}`).status)
	}
	require.NoError(t, server.Kill())
	for _, call := range []struct{ method, path, body string }{
		{"GET", "/v1/accounts/1", ""},
		{"GET", "/v1/accounts/1/statement", ""},
		{"GET", "/v1/transfers/0:0", ""},
		{"POST", "/v1/transfers", `{"from":1,"to":2,"amount_minor":4}`},
		{"PUT", "/v1/accounts/3", `{}`},
		{"GET", "/readyz", ""},
	} {
		away := callLedger(t.Context(), call.method, l.url+call.path, "k", call.body)
		require.Equal(t, http.StatusServiceUnavailable, away.status, "%s %s: %s", call.method, call.path, away.text)
		require.NotEmpty(t, away.retry)
	}
	require.NoError(t, server.Start())
	done := final(t.Context(), t, all, "POST", "/v1/transfers", "k", `{"from":1,"to":2,"amount_minor":4}`)
	require.Contains(t, []int{http.StatusCreated, http.StatusAccepted}, done.status, done.text)
	eventually(t, "the transfer", func() bool {
		return callLedger(t.Context(), "GET", l.url+"/v1/accounts/2", "", "").status == http.StatusOK &&
			strings.Contains(callLedger(t.Context(), "GET", l.url+"/v1/accounts/2", "", "").text, `"balance_minor":14,`)
	})
	eventually(t, "readiness", func() bool {
		return callLedger(t.Context(), "GET", l.url+"/readyz", "", "").status == http.StatusOK
	})
}

// The measuring command transfers what it says it does, over all instances, and leaves
// the baseline's database as it was.
func TestLedgerLoad(t *testing.T) {
	log := newServer(t, 2)
	db := dbtest.PostgreSQL(t).NewDatabase(t)
	defer http.DefaultClient.CloseIdleConnections()
	var urls []string
	for range 2 {
		l := newLedger(t, log, db)
		l.launch()
		urls = append(urls, l.url)
		eventually(t, "readiness", func() bool { return callLedger(t.Context(), "GET", l.url+"/readyz", "", "").status == http.StatusOK })
	}
	stdout, stderr, code := output(t, command(t, "./examples/ledger"), "load", "--url", strings.Join(urls, ","), "--connections", "8", "--accounts", "20",
		"--duration", "1s", "--warmup", "200ms", "--baseline", db, "--output", "json")
	require.Zero(t, code, stderr)
	var r map[string]float64
	require.NoError(t, json.Unmarshal([]byte(stdout), &r), stdout)
	for _, field := range []string{"transfers", "transfers_per_sec", "p50_ms", "p99_ms", "baseline_transfers_per_sec", "baseline_p50_ms", "baseline_p99_ms"} {
		require.Positive(t, r[field], "%s: %s", field, stdout)
	}
	for _, l := range urls {
		served := callLedger(t.Context(), "GET", l+"/metrics", "", "").text
		require.Contains(t, served, `ledger_http_requests_total{code="20`)
		for _, metric := range []string{"waltz_applier_high_water_mark", "waltz_client_appends_total", "ledger_runs_total", "go_goroutines"} {
			require.Contains(t, served, metric)
		}
	}
	stdout, stderr, code = output(t, command(t, "./examples/ledger"), "check", "--log", log.url(), "--db", db)
	require.Zero(t, code, "%s\n%s", stdout, stderr)
	plain, err := postgres.OpenDB(db)
	require.NoError(t, err)
	defer func() { require.NoError(t, plain.Close()) }()
	var tables int
	require.NoError(t, plain.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_tables WHERE tablename = 'ledger_baseline'").Scan(&tables))
	require.Zero(t, tables)
}
