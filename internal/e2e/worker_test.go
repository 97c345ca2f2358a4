package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// workerEnv carries the job of a worker process, as JSON.
const workerEnv = "WALTZ_E2E_WORKER"

// job is what a worker process is started for.
type job struct {
	Kind       string // which worker
	Name       string // of this process, unique in its test
	Log        string // address of the log
	Record     string // file that its recording is appended to
	View       string // SQLite file, for workers that have one
	Seed       uint64
	Goroutines int           // that call concurrently
	Calls      int           // after which it ends by itself; 0: never
	Accounts   int           // for transfers
	CrashStage applier.Stage // of the applier, to die at
	CrashAt    int           // for the how manieth time; 0: never
	ToEnd      bool          // end when the view shows what the log held at the start
	Key        string        // business key
	Dir        string        // to mount a small file system on
	Size       int64         // of that, in bytes
	Exec       []string      // what to run then
}

// work is the main function of a worker process.
func work(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	kinds := map[string]func(context.Context, job) error{
		"append": appendWorker,
		"feed":   feedWorker,
		"mount":  mountWorker,
		"view":   viewWorker,
		"move":   moveWorker,
		"key":    keyWorker,
	}
	run := kinds[j.Kind]
	if run == nil {
		return fmt.Errorf("job %q is unknown", j.Kind)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // the test closes stdin to stop it, or is gone
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return run(ctx, j)
}

// startWorker starts this test binary again, for a job.
func startWorker(t testing.TB, j job) *process {
	t.Helper()
	env, argv := reexec(t, j)
	return start(t, j.Name, env, argv[0])
}

// reexec is how to start this test binary for a job.
func reexec(t testing.TB, j job) (env, argv []string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	text, err := json.Marshal(j)
	require.NoError(t, err)
	return []string{workerEnv + "=" + string(text)}, []string{self}
}

// dial connects a worker, which waits as long as the log takes to come up.
func (j job) dial(ctx context.Context) (*waltz.Client, error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	for {
		client, err := waltz.Dial(ctx, j.Log, waltz.WithLogger(logger))
		if err == nil || ctx.Err() != nil {
			return client, err
		}
		logger.Info("dial again", "error", err)
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// pause is the interval of asking again.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// now reads the clock that all processes of the machine share and nobody sets.
func now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // there is no machine without it
	}
	return ts.Nano()
}
