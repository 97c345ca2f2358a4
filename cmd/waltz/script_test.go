package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts run the real command line in processes of its own: this test
// binary, called as waltz, is that command.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"waltz": mainForScripts})
}

// mainForScripts is main, as the test binary cannot call it under its own name.
func mainForScripts() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if code := report(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr), os.Stderr); code != 0 {
		os.Exit(code)
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":    exits,
			"freeport": freePort,
			"json":     checkJSON,
		},
	})
}

// exits runs waltz and demands an exit code: exits CODE ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: exits CODE [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec("waltz", args[1:]...); err != nil {
		code, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("waltz did not run: %v", err)
		}
		got = code.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// freePort sets a variable to a TCP port that nobody uses: freeport NAME
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeport NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// checkJSON demands that stdout is exactly one JSON object that has the named
// keys, and with key=value that value: json KEY[=VALUE]...
func checkJSON(ts *testscript.TestScript, neg bool, args []string) {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		ts.Fatalf("stdout is no JSON object: %v", err)
	}
	if dec.More() {
		ts.Fatalf("stdout has more than one JSON value")
	}
	for _, arg := range args {
		key, want, compare := strings.Cut(arg, "=")
		value, ok := object[key]
		text, err := json.Marshal(value)
		ts.Check(err)
		if !ok || compare && string(text) != want && value != want {
			ts.Fatalf("key %s is %s (there: %v), want %q", key, text, ok, want)
		}
	}
	if neg {
		ts.Fatalf("json cannot be negated")
	}
}
