package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// place is where a test's log and view are.
type place struct{ log, db, file string }

func newPlace(t *testing.T) place {
	dir := t.TempDir()
	file := filepath.Join(dir, "view.db")
	return place{"file://" + filepath.Join(dir, "log"), "sqlite://" + file, file}
}

func TestImportGivesTheExpectedBalances(t *testing.T) {
	t.Parallel()
	trans, expected := bankFile(t)
	p := newPlace(t)
	args := []string{"import", "--log", p.log, "--db", p.db, "--partitions", "4", "--allow-overdraft", "--output", "json", trans}
	first := object(t, ledgerOutput(t, args...))
	require.Equal(t, first["rows"], first["imported"])
	requireBalances(t, expected, p.db)

	again := object(t, ledgerOutput(t, args...))
	require.Zero(t, again["imported"])
	require.Equal(t, first["rows"], again["already_done"])
	requireBalances(t, expected, p.db)

	check := object(t, ledgerOutput(t, "check", "--log", p.log, "--db", p.db, "--output", "json"))
	require.Equal(t, "ok", check["check"])
	require.Equal(t, first["rows"], check["transactions"])
	require.Zero(t, check["pending"])
}

// Whenever an import is killed, the next run finishes it, and nothing is there
// twice (I1, I4, I7).
func TestImportSurvivesKill(t *testing.T) {
	t.Parallel()
	trans, expected := bankFile(t)
	p := newPlace(t)
	args := []string{"import", "--log", p.log, "--db", p.db, "--partitions", "3", "--allow-overdraft", "--output", "json", trans}
	for _, rows := range []int{1, 3000, 6000, 9000} {
		killWhen(t, args, p.has(t, "SELECT count(*) FROM entry", rows))
	}
	last := object(t, ledgerOutput(t, args...))
	require.NotZero(t, last["already_done"])
	// The log may be ahead of what the kill waited for, even by all rows.
	require.Equal(t, last["rows"], last["already_done"].(float64)+last["imported"].(float64))
	requireBalances(t, expected, p.db)
	check := object(t, ledgerOutput(t, "check", "--log", p.log, "--db", p.db, "--output", "json"))
	require.Equal(t, "ok", check["check"])
	require.Equal(t, last["rows"], check["transactions"])
}

// A demo is killed while transfers are pending; the next one on its folder settles
// them before it is done with its own, and the books agree.
func TestCrossingTransfersSurviveKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := place{"file://" + filepath.Join(dir, "log"), "sqlite://" + filepath.Join(dir, "view.db"), filepath.Join(dir, "view.db")}
	args := []string{"demo", "--dir", dir, "--transfers", "4000", "--output", "json"}
	for run := range 3 {
		killWhen(t, args, p.has(t, "SELECT count(*) FROM crossing WHERE credited = 0 AND returned = 0 AND origin_id > 600", 1+run))
	}
	pending := p.count(t, "SELECT count(*) FROM crossing WHERE credited = 0 AND returned = 0")
	t.Logf("%d transfers are pending after the last kill", pending)

	r := object(t, ledgerOutput(t, "demo", "--dir", dir, "--transfers", "1000", "--output", "json"))
	require.Equal(t, "ok", r["check"])
	require.EqualValues(t, 1000, r["committed"].(float64)+r["declined"].(float64))
	require.Zero(t, p.count(t, "SELECT count(*) FROM crossing WHERE credited = 0 AND returned = 0"))
	check := object(t, ledgerOutput(t, "check", "--log", p.log, "--db", p.db, "--output", "json"))
	require.Zero(t, check["pending"])
}

// killWhen runs a command and ends it with SIGKILL as soon as is true. A run that
// ends by itself before is a failure: the kill would have proved nothing.
func killWhen(t *testing.T, args []string, is func() bool) {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	var stderr bytes.Buffer
	cmd := process(ctx, args...)
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case err := <-ended:
			require.Fail(t, "it ended before it could be killed", "%v: %s", err, &stderr)
		case <-ticker.C:
		}
	}
	kill()
	require.ErrorContains(t, <-ended, "killed", "%s", &stderr)
}

// has asks whether a count in the view has come up to n.
func (p place) has(t *testing.T, query string, n int) func() bool {
	return func() bool { return p.count(t, query) >= n }
}

// count asks a view that may not be there yet, or be busy: then it is 0.
func (p place) count(t *testing.T, query string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite", fmt.Sprintf("file:%s?mode=ro&_pragma=busy_timeout(5000)", p.file))
	require.NoError(t, err)
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		return 0
	}
	return n
}
