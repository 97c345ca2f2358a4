package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/waltz"
)

// asLedger makes the test binary behave as the command.
const asLedger = "LEDGER_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asLedger) != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"ledger": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: map[string]func(*testscript.TestScript, bool, []string){
		"exits": exits, "tamper": tamper, "failed": failed, "foreign": foreign,
	}})
}

// exits CODE ARG... runs ledger with the arguments, and wants the exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("ledger", args[1:]...)
	got := 0
	if exit, is := err.(*exec.ExitError); is { //nolint:errorlint // Exec returns it bare
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != code {
		ts.Fatalf("ledger %s exited with %d, want %d", strings.Join(args[1:], " "), got, code)
	}
}

// tamper FILE SQL changes a view behind its applier's back.
func tamper(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", "file:"+args[0])
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(args[1])
	ts.Check(err)
}

// foreign LOG HEADER DATA appends a transaction that no ledger has made.
func foreign(ts *testscript.TestScript, _ bool, args []string) {
	client, err := waltz.Dial(context.Background(), args[0], waltz.WithSchemes(embedded.Scheme))
	ts.Check(err)
	defer client.Close()
	header, err := strconv.Atoi(args[1])
	ts.Check(err)
	_, err = client.Append(context.Background(), 0, waltz.Transaction{Header: waltz.Header(header), HighWaterMark: waltz.None, Data: []byte(args[2])})
	ts.Check(err)
}

// failed PATTERN wants the last command's stdout to be the one object of a check
// that failed, and why.
func failed(ts *testscript.TestScript, _ bool, args []string) {
	var o map[string]any
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	ts.Check(d.Decode(&o))
	if _, err := d.Token(); err != io.EOF {
		ts.Fatalf("more than one object")
	}
	reason := fmt.Sprint(o["reason"], o["differences"])
	if matches, err := regexp.MatchString(args[0], reason); o["check"] != "failed" || !matches || err != nil {
		ts.Fatalf("check printed %v, want it failed with a reason like %q", o, args[0])
	}
}

// process prepares a run of the command in a process of its own.
func process(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asLedger+"=1")
	return cmd
}

// ledgerOutput runs the command to its good end and returns what it printed.
func ledgerOutput(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := process(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "ledger %s: %s", strings.Join(args, " "), &stderr)
	return stdout.String()
}

// object parses the one JSON object that a command printed.
func object(t *testing.T, text string) (o map[string]any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	require.NoError(t, d.Decode(&o), text)
	_, err := d.Token()
	require.ErrorIs(t, err, io.EOF, "more than one object: %s", text)
	return o
}

// bankFile is a file to import, and the balances it comes to, as account_id,
// transactions, balance: the bank's own where it lies beside the checkout, else rows
// of the same format made here.
func bankFile(t *testing.T) (trans, balances string) {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "data", "berka")
	if _, err := os.Stat(filepath.Join(dir, "trans.asc")); err == nil {
		t.Logf("using the Berka bank's rows in %s", dir)
	} else {
		dir = t.TempDir()
		t.Logf("using generated rows: the Berka bank's are not beside the checkout")
		ledgerOutput(t, "generate", "--rows", "20000", "--seed", "1993", "--dir", dir)
	}
	expected, err := os.ReadFile(filepath.Join(dir, "expected-balances.csv"))
	require.NoError(t, err)
	_, rows, _ := strings.Cut(string(expected), "\n")
	return filepath.Join(dir, "trans.asc"), rows
}

// requireBalances compares a view's balances with what was expected, row by row.
func requireBalances(t *testing.T, want, db string) {
	t.Helper()
	got := ledgerOutput(t, "balances", "--db", db)
	header, rows, _ := strings.Cut(got, "\n")
	require.Equal(t, "account_id,transactions,balance_minor", header)
	require.Equal(t, strings.TrimSpace(want), strings.TrimSpace(rows))
}
