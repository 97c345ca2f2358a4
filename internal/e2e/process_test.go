package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience bounds every wait for something that has to happen; a test that
// runs into it has found a bug, or a machine that stands still. Where a soak
// run waits for millions of transactions it is in no hurry.
func patience() time.Duration {
	if soak() {
		return time.Hour
	}
	return time.Minute
}

// process is one operating-system process of a test. It is killed when the test
// ends, and what it wrote is shown if the test failed.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	output string        // file of its stderr
	ended  chan struct{} // closed when it is gone
	err    error         // of Wait, once ended

	mu    sync.Mutex
	lines []string      // of its stdout
	more  chan struct{} // closed and replaced at each line
}

// start runs a command. Its stdin stays open until finish.
func start(t testing.TB, name string, env []string, path string, args ...string) *process {
	t.Helper()
	return startIn(t, nil, name, env, path, args...)
}

// startIn starts it with attributes, such as namespaces of its own.
func startIn(t testing.TB, attr *syscall.SysProcAttr, name string, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{name: name, cmd: exec.Command(path, args...), ended: make(chan struct{}), more: make(chan struct{})}
	p.cmd.SysProcAttr = attr
	p.output = filepath.Join(t.TempDir(), "stderr")
	stderr, err := os.Create(p.output)
	require.NoError(t, err)
	defer func() { require.NoError(t, stderr.Close()) }()
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), env...), stderr
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go p.watch(stdout)
	t.Cleanup(func() {
		p.kill()
		p.show(t)
	})
	return p
}

// watch collects stdout until the process is gone.
func (p *process) watch(stdout io.Reader) {
	in := bufio.NewScanner(stdout)
	for in.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, in.Text())
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

// kill ends the process with SIGKILL, if it still runs, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may be gone already
	<-p.ended
}

// finish closes stdin, which tells a worker to stop, and demands a good end.
func (p *process) finish(t testing.TB) {
	t.Helper()
	_ = p.stdin.Close() // it may be gone already; then wait says so
	p.wait(t)
}

// wait demands that the process ends well by itself.
func (p *process) wait(t testing.TB) {
	t.Helper()
	select {
	case <-p.ended:
		require.NoError(t, p.err, "%s: %s", p.name, p.stderr())
	case <-time.After(patience()):
		require.Fail(t, "it does not end", "%s: %s", p.name, p.stderr())
	}
}

// line waits for the first line of stdout that fits, and returns what fits makes of it.
func (p *process) line(t testing.TB, what string, fits func(line string) (string, bool)) string {
	t.Helper()
	timeout := time.After(patience())
	for seen := 0; ; {
		lines, more := p.have()
		for ; seen < len(lines); seen++ {
			if found, ok := fits(lines[seen]); ok {
				return found
			}
		}
		select {
		case <-more:
		case <-p.ended:
			if lines, _ := p.have(); len(lines) == seen {
				require.FailNow(t, "it ended", "%s, while waiting for %s: %v\n%s", p.name, what, p.err, p.stderr())
			}
		case <-timeout:
			require.FailNow(t, "nothing comes", "%s: waited for %s; stdout: %q\n%s", p.name, what, lines, p.stderr())
		}
	}
}

// count waits until stdout has n lines.
func (p *process) count(t testing.TB, n int) {
	t.Helper()
	p.line(t, fmt.Sprintf("line %d", n), func(string) (string, bool) {
		lines, _ := p.have()
		return "", len(lines) >= n
	})
}

func (p *process) have() ([]string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines, p.more
}

func (p *process) stderr() string {
	b, err := os.ReadFile(p.output)
	if err != nil {
		return err.Error()
	}
	const most = 8 << 10
	if len(b) > most {
		b = append([]byte("…"), b[len(b)-most:]...)
	}
	return string(b)
}

// show prints what the process wrote if the test failed. A data race fails it.
func (p *process) show(t testing.TB) {
	text := p.stderr()
	if strings.Contains(text, "DATA RACE") {
		t.Errorf("%s has a data race", p.name)
	}
	if t.Failed() && text != "" {
		t.Logf("stderr of %s:\n%s", p.name, text)
	}
}

// output runs a command to its end and returns stdout, stderr and exit code.
func output(t testing.TB, path string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return outputOf(t, nil, path, args...)
}

func outputOf(t testing.TB, stdin io.Reader, path string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	var out, errs strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err, "%s %q", path, args)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// freeAddress finds a port that nobody listens on, outside of the range from
// which the system takes the ports of outgoing connections: while a server is
// down its clients dial it over and over, and one of them could be given the
// server's own port and connect to itself.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(18000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		require.NoError(t, l.Close())
		return addr
	}
	require.FailNow(t, "no free port")
	return ""
}

// eventually waits for a condition that no line tells.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, patience(), 5*time.Millisecond, what)
}
