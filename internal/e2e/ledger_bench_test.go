package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/internal/dbtest"
)

// BenchmarkLedgerServe puts `ledger load` on `ledger serve`, all of it as processes of
// one machine: transfers at 64 connections between 10,000 accounts and between 100. On
// PostgreSQL the same run measures SERIALIZABLE transfers in plain SQL. What load
// prints is logged.
//
// LEDGER_SERVE and LEDGER_LOAD in the environment name other builds of the command.
func BenchmarkLedgerServe(b *testing.B) {
	for _, d := range []struct {
		name    string
		address func(testing.TB) string
	}{
		{"sqlite", func(t testing.TB) string { return "sqlite://" + filepath.Join(t.TempDir(), "view.db") }},
		{"postgres", func(t testing.TB) string { return dbtest.PostgreSQL(t).NewDatabase(t) }},
		{"mariadb", func(t testing.TB) string { return dbtest.MariaDB(t).NewDatabase(t) }},
	} {
		for _, partitions := range []int{1, 4} { // of 4, three quarters of the transfers are between two
			for _, accounts := range []int{10_000, 100} {
				b.Run(fmt.Sprintf("db=%s/partitions=%d/accounts=%d", d.name, partitions, accounts), func(b *testing.B) {
					benchmarkServe(b, d.address(b), partitions, accounts)
				})
			}
		}
	}
}

// interesting are the metrics that tell where the time of transfers goes.
var interesting = regexp.MustCompile(`^(ledger_retries_total|(ledger_run|ledger_applied|waltz_client_append)_seconds_(sum|count)|waltz_applier_(applied|batches)_total)`)

func benchmarkServe(b *testing.B, db string, partitions, accounts int) {
	log := unstarted(b, partitions, plainCommand)
	log.start()
	l := newLedger(b, log, db)
	l.argv[0] = plainCommand(b, "./examples/ledger")
	loadBinary := l.argv[0]
	if other := os.Getenv("LEDGER_SERVE"); other != "" {
		l.argv[0] = other
	}
	if other := os.Getenv("LEDGER_LOAD"); other != "" {
		loadBinary = other
	}
	l.launch()
	eventually(b, "readiness", func() bool {
		return callLedger(b.Context(), "GET", l.url+"/readyz", "", "").status == http.StatusOK
	})
	http.DefaultClient.CloseIdleConnections()
	args := []string{"load", "--url", l.url, "--accounts", fmt.Sprint(accounts), "--output", "json"}
	if postgres.IsURL(db) {
		args = append(args, "--baseline", db)
	}
	for b.Loop() {
		stdout, stderr, code := output(b, loadBinary, args...)
		require.Zero(b, code, stderr)
		b.Log(stdout)
		var r map[string]float64
		require.NoError(b, json.Unmarshal([]byte(stdout), &r))
		b.ReportMetric(r["transfers_per_sec"], "transfers/s")
		b.ReportMetric(r["p50_ms"], "p50-ms")
		b.ReportMetric(r["p99_ms"], "p99-ms")
		if postgres.IsURL(db) {
			b.ReportMetric(r["baseline_transfers_per_sec"], "plain-sql-transfers/s")
		}
	}
	for line := range strings.Lines(callLedger(b.Context(), "GET", l.url+"/metrics", "", "").text) {
		if interesting.MatchString(line) {
			b.Log(strings.TrimSpace(line))
		}
	}
	http.DefaultClient.CloseIdleConnections()
	require.NoError(b, l.process.cmd.Process.Signal(syscall.SIGTERM))
	l.process.wait(b)
	used := l.process.cmd.ProcessState
	b.Logf("ledger serve used %s of CPU, %s of it in the kernel", used.UserTime()+used.SystemTime(), used.SystemTime())
}
