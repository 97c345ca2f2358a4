package postgres

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

// wardLog is one partition of which every transaction changes one of seven keys.
func wardLog() *appliertest.Log {
	log := appliertest.NewLog("kill", 1)
	for i := range killTransactions {
		var tx waltz.Transaction
		if err := hitKind.Put(&tx, hit{Row: int64(i % 7), Add: int64(i)}); err != nil {
			panic(err)
		}
		log.Append(0, tx)
	}
	return log
}

// wardVictim applies with a quarantine, and retries what it is asked for, until it
// has reached a stage for the n-th time.
func wardVictim(address string) int {
	stage, _ := strconv.Atoi(os.Getenv(killStage))
	n, _ := strconv.Atoi(os.Getenv(killAt))
	var reached atomic.Int64
	o := applier.Options{
		Name: "ward", Policy: applier.QuarantineKey, BatchTransactionsMax: 7, LettersEvery: time.Millisecond, RetryMin: time.Millisecond,
		Hooks: applier.Hooks{Stage: func(_ waltz.Partition, s applier.Stage) {
			if int(s) == stage && reached.Add(1) == int64(n) {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it is delivered
			}
		}},
	}
	h := applier.Keyed(applier.On(hitKind, admit), func(r waltz.Record[hit]) []string { return []string{fmt.Sprint(r.Value.Row)} })
	view, err := OpenLog(context.Background(), wardLog(), address, o, h)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- view.Run(ctx) }()
	err = view.WaitFor(ctx, 0, killTransactions-1)
	_, retry := view.Retry(ctx, 0, 0, -1) // of none: what was asked for before is done when it returns
	cancel()
	if err != nil || retry != nil || <-ended != nil || view.Close() != nil {
		return 1
	}
	return 0
}

// admit fails while there is an obstacle, and says so late.
func admit(ctx context.Context, tx *Tx, r waltz.Record[hit]) error {
	return tx.Queue(ctx, "INSERT INTO ward (id, row) SELECT CASE WHEN EXISTS (SELECT 1 FROM obstacles WHERE id = $1) THEN NULL ELSE $1::bigint END, $2", int64(r.ID), r.Value.Row)
}

// F20, F21: SIGKILL at every stage, while there are letters, and some of them are
// retried: each transaction up to the mark is applied or is a letter, never both
// and never neither; and in the end each key has all of its own, in order.
func TestKilledWithLetters(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	require.NoError(t, migrate(t.Context(), address, applier.Options{}))
	h := newHits(t, address)
	h.run(`CREATE TABLE ward (at bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id bigint NOT NULL UNIQUE, row bigint NOT NULL);
		CREATE TABLE obstacles (id bigint PRIMARY KEY); INSERT INTO obstacles VALUES (9), (40), (41), (200), (205), (250)`)
	rng := rand.New(rand.NewPCG(7, 7))
	killed, rounds := 0, sized(16, 1000)
	for round := 0; ; round++ {
		stage, at := applier.Stage(round%4), 1+rng.IntN(25)
		if round >= rounds {
			at = 1 << 30
		}
		if killedVictim(t, address, stage, at, killWard+"=1") {
			h.eachIsOneThing()
			if round >= rounds && h.count("SELECT count(*) FROM waltz_dead_letters") == 0 {
				break
			}
		} else {
			killed++
			h.eachIsOneThing()
		}
		h.interfere(round)
	}
	require.GreaterOrEqual(t, killed, 8)
	require.Equal(t, int64(killTransactions), h.count("SELECT count(*) FROM ward"))
}

func (h *hits) run(query string) {
	h.Helper()
	_, err := h.conn.Exec(h.Context(), query)
	require.NoError(h, err)
}

// interfere asks for what can't be applied yet, or takes an obstacle away.
func (h *hits) interfere(round int) {
	h.Helper()
	if round%3 == 2 {
		h.run("DELETE FROM obstacles WHERE id = (SELECT min(id) FROM obstacles)")
	}
	h.run("UPDATE waltz_dead_letters SET state = 'retry' WHERE state = 'dead'; UPDATE waltz_high_water_marks SET epoch = epoch + 1")
}

func (h *hits) eachIsOneThing() {
	h.Helper()
	mark := h.count("SELECT coalesce(max(high_water_mark), -1) FROM waltz_high_water_marks")
	applied, letters := h.count("SELECT count(*) FROM ward"), h.count("SELECT count(*) FROM waltz_dead_letters")
	require.Equal(h, mark+1, applied+letters, "%d applied, %d letters", applied, letters)
	require.Zero(h, h.count("SELECT count(*) FROM ward JOIN waltz_dead_letters ON id = transaction_id"))
	require.Zero(h, h.count("SELECT count(*) FROM ward a JOIN ward b ON a.row = b.row AND a.at < b.at AND a.id > b.id"), "each key in its order")
}
