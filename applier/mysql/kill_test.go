package mysql

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

const (
	killTransactions = 400
	killPartitions   = 3
)

// victim applies until it has reached a stage for the n-th time, and then gets a
// signal. It is another process: the test binary itself.
func victim(url string) int {
	number := func(name string) int {
		n, _ := strconv.Atoi(os.Getenv(name))
		return n
	}
	var reached atomic.Int64
	stage, at, signal := applier.Stage(number("WALTZ_KILL_STAGE")), int64(number("WALTZ_KILL_AT")), syscall.Signal(number("WALTZ_KILL_SIGNAL"))
	o := applier.Options{Name: "hits", BatchTransactionsMax: 7, Hooks: applier.Hooks{Stage: func(_ waltz.Partition, s applier.Stage) {
		if s == stage && reached.Add(1) == at {
			_ = syscall.Kill(os.Getpid(), signal)
			if signal == syscall.SIGKILL {
				select {} // until it is delivered
			}
		}
	}}}
	if os.Getenv("WALTZ_KILL_LEASE") != "" {
		o.HA, o.LeaseDuration = applier.Lease, time.Second
	}
	apply := applyAll
	if os.Getenv("WALTZ_KILL_WARD") != "" {
		apply = applyWard
	}
	if err := apply(url, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func applyAll(url string, o applier.Options) error {
	view, err := OpenLog(context.Background(), hitLog(killPartitions, killTransactions), url, o, applier.On(hitKind, applyHit))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- view.Run(ctx)
		cancel()
	}()
	for p := range killPartitions {
		if err := view.WaitFor(ctx, waltz.Partition(p), killTransactions-1); err != nil {
			return err
		}
	}
	cancel()
	if err := <-ended; err != nil {
		return err
	}
	return view.Close()
}

func victimCommand(t *testing.T, url string, signal syscall.Signal, stage applier.Stage, at int, more ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), "WALTZ_KILL_URL="+url, fmt.Sprintf("WALTZ_KILL_STAGE=%d", stage),
		fmt.Sprintf("WALTZ_KILL_AT=%d", at), fmt.Sprintf("WALTZ_KILL_SIGNAL=%d", signal)), more...)
	return cmd
}

// soak reports whether the long form of the tests is wanted.
func soak() bool { return os.Getenv("WALTZ_SOAK") != "" }

// kills is how often the applier's process is killed.
func kills() int {
	if soak() {
		return 1000
	}
	return 24
}

// F10: SIGKILL at every stage, at random moments, again and again on one database:
// after each, the view is exactly what its marks say, and in the end all of it.
func TestKilledAtEveryStage(t *testing.T) {
	url := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, url)
	hitTables(t, db)
	rng := rand.New(rand.NewPCG(1, 2))
	killed := 0
	for stage := applier.StageMarked; ; stage = (stage + 1) % (applier.StageCommitted + 1) {
		at := 1 + rng.IntN(6)
		if stage == applier.StageStatement {
			at = 1 + rng.IntN(80)
		}
		if killed >= kills() {
			at = 1 << 30
		}
		out, err := victimCommand(t, url, syscall.SIGKILL, stage, at).CombinedOutput()
		if err != nil {
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			status, is := exit.Sys().(syscall.WaitStatus)
			require.True(t, is && status.Signaled() && status.Signal() == syscall.SIGKILL, "%v: %s", err, out)
			killed++
		}
		if killed > 0 {
			exactHits(t, db, killPartitions)
		}
		if err != nil {
			continue
		}
		require.Equal(t, []int64{killTransactions - 1, killTransactions - 1, killTransactions - 1}, exactHits(t, db, killPartitions))
		if killed >= kills() {
			break
		}
		forgetHits(t, db)
	}
}

// F13: an instance with a lease is stopped in the middle of an SQL transaction for
// longer than the lease. Its locks are freed by the server, another instance goes on,
// and when it wakes up it does no harm.
func TestStoppedLongerThanTheLease(t *testing.T) {
	url := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, url)
	hitTables(t, db)
	stages := []applier.Stage{applier.StageStatement, applier.StageCommitted}
	if soak() {
		stages = slices.Repeat(append(stages, applier.StageMarked, applier.StageWorked), 50)
	}
	for _, stage := range stages {
		cmd := victimCommand(t, url, syscall.SIGSTOP, stage, 20, "WALTZ_KILL_LEASE=1")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool { return stopped(t, cmd.Process.Pid) }, patience, 5*time.Millisecond)
		before := exactHits(t, db, killPartitions)

		require.NoError(t, applyAll(url, applier.Options{Name: "hits", HA: applier.Lease, LeaseDuration: time.Second, BatchTransactionsMax: 50}))
		for p, mark := range exactHits(t, db, killPartitions) {
			require.Equal(t, int64(killTransactions-1), mark)
			require.Less(t, before[p], mark)
		}
		require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
		require.NoError(t, cmd.Wait(), "%s", out.String())
		exactHits(t, db, killPartitions)
		forgetHits(t, db)
	}
}

// stopped asks the kernel whether a process is stopped.
func stopped(t *testing.T, pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return len(rest) > 0 && rest[0] == 'T'
}
