package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

const (
	killTransactions = 300
	killPartitions   = 3
)

type hit struct{ Row, Add int64 }

var hitKind = waltz.Kind[hit]{Header: 1, Name: "hit", Codec: waltz.JSON[hit]()}

const hitTables = `
	CREATE TABLE hits (part int, id bigint, PRIMARY KEY (part, id));
	CREATE TABLE sums (row bigint PRIMARY KEY, sum bigint NOT NULL);
	INSERT INTO sums SELECT i, 0 FROM generate_series(0, 4) i`

// appendHits appends n transactions to each partition.
func appendHits(log *appliertest.Log, from, n int) {
	for i := from; i < from+n; i++ {
		for p := range log.Partitions() {
			tx := waltz.Transaction{Key: fmt.Sprintf("key-%d", i)}
			if err := hitKind.Put(&tx, hit{Row: int64(i % 5), Add: int64(i)}); err != nil {
				panic(err)
			}
			log.Append(waltz.Partition(p), tx)
		}
	}
}

// killLog is the same in every process.
func killLog() *appliertest.Log {
	log := appliertest.NewLog("kill", killPartitions)
	appendHits(log, 0, killTransactions)
	return log
}

// applyHit queues: its errors come late.
func applyHit(ctx context.Context, tx *Tx, r waltz.Record[hit]) error {
	if err := tx.Queue(ctx, "INSERT INTO hits VALUES ($1, $2)", int(r.Partition), int64(r.ID)); err != nil {
		return err
	}
	return tx.Queue(ctx, "UPDATE sums SET sum = sum + $1 WHERE row = $2", r.Value.Add, r.Value.Row)
}

const (
	killURL   = "WALTZ_KILL_URL"
	killStage = "WALTZ_KILL_STAGE"
	killAt    = "WALTZ_KILL_AT"
	killWith  = "WALTZ_KILL_SIGNAL"
	killWard  = "WALTZ_KILL_WARD"
)

// victim applies until it has reached a stage for the n-th time, and then gets a
// signal. One that is to be stopped gets it when it has reached the stage in a batch
// of at least n statements, so that some of them were sent.
func victim(address string) int {
	stage, _ := strconv.Atoi(os.Getenv(killStage))
	n, _ := strconv.Atoi(os.Getenv(killAt))
	signal, _ := strconv.Atoi(os.Getenv(killWith))
	var reached atomic.Int64
	var batch [killPartitions]atomic.Int64
	stops := syscall.Signal(signal) == syscall.SIGSTOP
	now := func(p waltz.Partition, s applier.Stage) bool {
		if s == applier.StageStatement {
			batch[p].Add(1)
		}
		if s == applier.StageCommitted {
			batch[p].Store(0)
		}
		if stops {
			return int(s) == stage && batch[p].Load() >= int64(n) && reached.Add(1) == 1
		}
		return int(s) == stage && reached.Add(1) == int64(n)
	}
	o := applier.Options{
		Name: "kill", BatchTransactionsMax: 7, RetryMin: 5 * time.Millisecond, RetryMax: 50 * time.Millisecond, LeaseDuration: 400 * time.Millisecond,
		Hooks: applier.Hooks{Stage: func(p waltz.Partition, s applier.Stage) {
			if now(p, s) {
				_ = syscall.Kill(os.Getpid(), syscall.Signal(signal))
				if syscall.Signal(signal) == syscall.SIGKILL {
					select {} // until it is delivered
				}
			}
		}},
	}
	if stops {
		o.HA, o.BatchTransactionsMax = applier.Lease, killTransactions // several pieces
	}
	view, err := OpenLog(context.Background(), killLog(), address, o, applier.On(hitKind, applyHit))
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
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	cancel()
	if <-ended != nil || view.Close() != nil {
		return 1
	}
	return 0
}

// hits looks at the tables from outside.
type hits struct {
	*testing.T
	conn *pgx.Conn
}

func newHits(t *testing.T, address string) *hits {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	_, err = c.Exec(t.Context(), hitTables)
	require.NoError(t, err)
	return &hits{t, c}
}

func (h *hits) count(query string, args ...any) (n int64) {
	h.Helper()
	require.NoError(h, h.conn.QueryRow(h.Context(), query, args...).Scan(&n))
	return n
}

// exact proves I7, whatever the marks are.
func (h *hits) exact(partitions int) {
	h.Helper()
	want := make(map[int64]int64)
	for p := range partitions {
		mark := h.count("SELECT high_water_mark FROM waltz_high_water_marks WHERE partition = $1", p)
		require.Equal(h, mark+1, h.count("SELECT count(*) FROM hits WHERE part = $1", p))
		require.Equal(h, mark+1, h.count("SELECT count(*) FROM waltz_keys k JOIN waltz_high_water_marks m USING (number) WHERE partition = $1", p))
		for i := range mark + 1 {
			want[i%5] += i
		}
	}
	for row := range int64(5) {
		require.Equal(h, want[row], h.count("SELECT sum FROM sums WHERE row = $1", row), "row %d", row)
	}
	require.Zero(h, h.count("SELECT count(*) FROM waltz_dead_letters"))
}

// F10: SIGKILL at every stage, at random moments, again and again on one database:
// after each, the view is exactly what its marks say, and in the end all of it.
func TestKilledAtEveryStage(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	require.NoError(t, migrate(t.Context(), address, applier.Options{}))
	h := newHits(t, address)
	rng := rand.New(rand.NewPCG(1, 2))
	killed := 0
	for stage := applier.StageMarked; ; stage = (stage + 1) % (applier.StageCommitted + 1) {
		at := 1 + rng.IntN(6)
		if stage == applier.StageStatement {
			at = 1 + rng.IntN(80)
		}
		if killed >= sized(16, 1000) {
			at = 1 << 30
		}
		survived := killedVictim(t, address, stage, at)
		h.exact(killPartitions)
		done := h.count("SELECT count(*) FROM hits") == killTransactions*killPartitions
		if survived && killed >= sized(16, 1000) {
			require.True(t, done)
			break
		}
		if done { // from the beginning
			_, err := h.conn.Exec(t.Context(), "TRUNCATE hits, waltz_keys; UPDATE sums SET sum = 0; UPDATE waltz_high_water_marks SET high_water_mark = -1, epoch = epoch + 1")
			require.NoError(t, err)
		}
		if !survived {
			killed++
		}
	}
	require.GreaterOrEqual(t, killed, 10)
}

// sized is a count for make test, and one for make soak.
func sized(test, soak int) int {
	if os.Getenv("WALTZ_SOAK") != "" {
		return soak
	}
	return test
}

func newVictim(t *testing.T, address string, stage applier.Stage, at int, signal syscall.Signal) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), killURL+"="+address, fmt.Sprintf("%s=%d", killStage, stage), fmt.Sprintf("%s=%d", killAt, at), fmt.Sprintf("%s=%d", killWith, signal))
	return cmd
}

func killedVictim(t *testing.T, address string, stage applier.Stage, at int, env ...string) (survived bool) {
	t.Helper()
	cmd := newVictim(t, address, stage, at, syscall.SIGKILL)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return true
	}
	status, is := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, is && status.Signaled() && status.Signal() == syscall.SIGKILL, "%v: %s", err, out)
	// The server may still be busy with a COMMIT of another partition.
	require.NoError(t, waitFor(t.Context(), address, "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'waltz %'"))
	return false
}

// F13: a process is stopped in the middle of an SQL transaction, for longer than its
// leases: another one goes on once the server has ended that transaction, and when
// the first one wakes up, it does no harm.
func TestStoppedBeyondItsLease(t *testing.T) {
	for _, stage := range []applier.Stage{applier.StageStatement, applier.StageWorked} {
		address := servers.PostgreSQL(t).NewDatabase(t) + "&idle_in_transaction_session_timeout=300"
		require.NoError(t, migrate(t.Context(), address, applier.Options{}))
		h := newHits(t, address)
		cmd := newVictim(t, address, stage, 2*pieceStatements, syscall.SIGSTOP)
		cmd.Stderr = os.Stderr
		require.NoError(t, cmd.Start())
		stopped(t, cmd.Process.Pid)
		before := h.count("SELECT count(*) FROM hits")
		require.Less(t, before, int64(killTransactions*killPartitions))

		o := applier.Options{Name: "kill", HA: applier.Lease, LeaseDuration: 400 * time.Millisecond, RetryMin: 5 * time.Millisecond, RetryMax: 50 * time.Millisecond}
		view := runView(t, killLog(), address, o, applier.On(hitKind, applyHit))
		reach(t, view, killLog())
		h.exact(killPartitions)
		require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
		require.NoError(t, cmd.Wait(), "it sees that all is done")
		h.exact(killPartitions)
	}
}

// stopped waits until a process is.
func stopped(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		var id int
		var name, state string
		_, scanned := fmt.Sscan(string(stat), &id, &name, &state)
		return err == nil && scanned == nil && state == "T"
	}, 30*time.Second, time.Millisecond)
}

// runView runs a view until the test's end.
func runView(t *testing.T, log applier.Log, address string, o applier.Options, handlers ...Handler) *View {
	t.Helper()
	view, err := OpenLog(t.Context(), log, address, o, handlers...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := view.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		require.NoError(t, view.Close())
	})
	return view
}
