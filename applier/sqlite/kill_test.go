package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

// TestMain is also the process that is killed: the test binary starts itself.
func TestMain(m *testing.M) {
	if file := os.Getenv("WALTZ_KILL_FILE"); file != "" && os.Getenv("WALTZ_KILL_WARD") != "" {
		os.Exit(wardVictim(file))
	} else if file != "" {
		os.Exit(victim(file))
	}
	goleak.VerifyTestMain(m)
}

const (
	killTransactions = 400
	killPartitions   = 3
)

type hit struct{ Row, Add int64 }

var hitKind = waltz.Kind[hit]{Header: 1, Name: "hit", Codec: waltz.JSON[hit]()}

// killLog is the same in every process.
func killLog() *appliertest.Log {
	log := appliertest.NewLog("kill", killPartitions)
	for i := range killTransactions {
		for p := range killPartitions {
			tx := waltz.Transaction{Key: fmt.Sprintf("key-%d", i)}
			if err := hitKind.Put(&tx, hit{Row: int64(i % 5), Add: int64(i)}); err != nil {
				panic(err)
			}
			log.Append(waltz.Partition(p), tx)
		}
	}
	return log
}

// victim applies until it has reached a stage for the n-th time, and then is gone.
func victim(file string) int {
	stage, _ := strconv.Atoi(os.Getenv("WALTZ_KILL_STAGE"))
	n, _ := strconv.Atoi(os.Getenv("WALTZ_KILL_AT"))
	var reached atomic.Int64
	o := applier.Options{Name: "kill", BatchTransactionsMax: 7, Hooks: applier.Hooks{Stage: func(_ waltz.Partition, s applier.Stage) {
		if int(s) == stage && reached.Add(1) == int64(n) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until it is delivered
		}
	}}}
	view, err := OpenLog(context.Background(), killLog(), file, o, applier.On(hitKind, func(ctx context.Context, tx Tx, r waltz.Record[hit]) error {
		if _, err := tx.Exec(ctx, "INSERT INTO hits VALUES (?, ?)", int(r.Partition), int64(r.ID)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE sums SET sum = sum + ? WHERE row = ?", r.Value.Add, r.Value.Row)
		return err
	}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
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
			return 1
		}
	}
	cancel()
	if <-ended != nil || view.Close() != nil {
		return 1
	}
	return 0
}

// F10: SIGKILL at every stage, at random moments, again and again on one file:
// after each, the view is exactly what its marks say, and in the end all of it.
func TestKilledAtEveryStage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "view.db")
	db, err := OpenDB(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.Exec(`CREATE TABLE hits (part INTEGER, id INTEGER, PRIMARY KEY (part, id)) STRICT; CREATE TABLE sums (row INTEGER PRIMARY KEY, sum INTEGER NOT NULL) STRICT;
		INSERT INTO sums VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0)`)
	require.NoError(t, err)
	count := func(query string, args ...any) (n int64) {
		require.NoError(t, db.QueryRow(query, args...).Scan(&n))
		return n
	}
	rng := rand.New(rand.NewPCG(1, 2))
	killed := 0
	for stage := applier.StageMarked; ; stage = (stage + 1) % (applier.StageCommitted + 1) {
		at := 1 + rng.IntN(6)
		if stage == applier.StageStatement {
			at = 1 + rng.IntN(80)
		}
		if killed >= 24 {
			at = 1 << 30
		}
		survived := runVictim(t, file, stage, at)
		want := make(map[int64]int64)
		for p := range killPartitions {
			mark := count("SELECT high_water_mark FROM waltz_high_water_marks WHERE partition = ?", p)
			require.Equal(t, mark+1, count("SELECT count(*) FROM hits WHERE part = ?", p), "after stage %d", stage)
			require.Equal(t, mark+1, count("SELECT count(*) FROM waltz_keys k JOIN waltz_high_water_marks m USING (number) WHERE partition = ?", p))
			for i := range mark + 1 {
				want[i%5] += i
			}
		}
		for row := range int64(5) {
			require.Equal(t, want[row], count("SELECT sum FROM sums WHERE row = ?", row))
		}
		if survived {
			break
		}
		killed++
	}
	require.Equal(t, int64(killTransactions*killPartitions), count("SELECT count(*) FROM hits"))
	require.GreaterOrEqual(t, killed, 10)
}

func runVictim(t *testing.T, file string, stage applier.Stage, at int, env ...string) (survived bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "WALTZ_KILL_FILE="+file, fmt.Sprintf("WALTZ_KILL_STAGE=%d", stage), fmt.Sprintf("WALTZ_KILL_AT=%d", at))
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return true
	}
	status, is := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, is && status.Signaled() && status.Signal() == syscall.SIGKILL, "%v: %s", err, out)
	return false
}
