package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/waltz-log/waltz/internal/dbtest"
)

// The scripts run the real command line in processes of its own: this test
// binary, called as waltz, is that command.
func TestMain(m *testing.M) {
	testscript.Main(withServers{m}, map[string]func(){"waltz": mainForScripts})
}

var servers dbtest.Servers

// withServers ends the database servers after the tests.
type withServers struct{ *testing.M }

func (m withServers) Run() int { return servers.Run(m.M) }

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
		Setup: func(env *testscript.Env) error {
			env.Values[processKey{}] = map[string]*devProcess{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"devup":     devUp,
			"devdown":   devDown,
			"up":        up,
			"die":       die,
			"until":     until,
			"exits":     exits,
			"interrupt": interrupt,
			"freeport":  freePort,
			"json":      checkJSON,
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

// devUp starts waltz dev and sets ADDR to its address when it is ready, METRICS to
// that of its metrics: devup ARG...
func devUp(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("devup cannot be negated")
	}
	d := &devProcess{exited: make(chan struct{})}
	ts.Setenv("ADDR", "")
	cmd := command(ts, append([]string{"dev", "--output", "json", "--log-level", "warn"}, args...)...)
	d.cmd = cmd
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var r ready
	err = json.NewDecoder(out).Decode(&r)
	go func() {
		d.err = cmd.Wait()
		close(d.exited)
	}()
	ts.Defer(func() {
		_ = cmd.Process.Kill() // unless devdown has ended it
		<-d.exited
	})
	if err != nil {
		ts.Fatalf("waltz dev did not become ready: %v", err)
	}
	ts.Setenv("ADDR", r.Address)
	ts.Setenv("HOST", strings.TrimPrefix(r.Address, "waltz://"))
	ts.Setenv("METRICS", r.Metrics)
	processes(ts)["dev"] = d
}

type devProcess struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error
}

type processKey struct{}

// processes are those that a script has started.
func processes(ts *testscript.TestScript) map[string]*devProcess {
	return ts.Value(processKey{}).(map[string]*devProcess)
}

// command is waltz, as the script would run it.
func command(ts *testscript.TestScript, args ...string) *exec.Cmd {
	self, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "waltz" // by which testscript knows what to run
	cmd.Dir = ts.MkAbs(".")
	return cmd
}

// devDown sends a signal and demands an exit code: devdown term 0
func devDown(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: devdown term|kill CODE")
	}
	d := processes(ts)["dev"]
	ts.Check(d.cmd.Process.Signal(map[string]os.Signal{"term": syscall.SIGTERM, "kill": syscall.SIGKILL}[args[0]]))
	<-d.exited
	if got := strconv.Itoa(d.cmd.ProcessState.ExitCode()); got != args[1] {
		ts.Fatalf("waltz dev ended with %s, want %s", got, args[1])
	}
}

// interrupt runs waltz until it has printed a line that contains a text, then
// interrupts it and demands an exit code: interrupt CODE TEXT ARG...
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: interrupt CODE TEXT [ARG...]")
	}
	cmd := command(ts, args[2:]...)
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.Contains(lines.Text(), args[1]); {
	}
	ts.Check(cmd.Process.Signal(os.Interrupt))
	_, err = io.Copy(io.Discard, out)
	ts.Check(err)
	_ = cmd.Wait() // the exit code tells
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}
