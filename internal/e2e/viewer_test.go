package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/waltz"
)

// viewWorker applies the log to a SQLite view until it is stopped, or until
// every partition has reached the log's mark as of its start if it was told to
// end there. With CrashAt it kills itself when it
// reaches CrashStage for that time.
func viewWorker(ctx context.Context, j job) error {
	client, err := j.dial(ctx)
	if err != nil {
		return err
	}
	o := applier.Options{}
	if j.CrashAt > 0 {
		o.BatchTransactionsMax = 3
		o.Hooks.Stage = crash(j.CrashStage, j.CrashAt)
	}
	view, err := openBank(ctx, client, j.View, o)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- view.Run(running) }()
	if j.ToEnd {
		err = reached(ctx, client, view)
		stop()
	}
	return errors.Join(<-ended, err, view.Close(), client.Close())
}

// crash kills this process when it reaches a stage for the n-th time.
func crash(stage applier.Stage, n int) func(waltz.Partition, applier.Stage) {
	var reached atomic.Int64
	return func(_ waltz.Partition, s applier.Stage) {
		if s == stage && int(reached.Add(1)) == n {
			fmt.Println("crash")
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it takes effect
		}
	}
}

// reached waits until the view shows what the log holds now.
func reached(ctx context.Context, client *waltz.Client, view *sqlite.View) error {
	for i := range client.Partitions() {
		p := waltz.Partition(i)
		mark, err := client.HighWaterMark(ctx, p)
		if err != nil {
			return err
		}
		if mark == waltz.None {
			continue
		}
		if err := view.WaitFor(ctx, p, mark); err != nil {
			return err
		}
	}
	return nil
}
