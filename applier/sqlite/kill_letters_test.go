package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
func wardVictim(file string) int {
	stage, _ := strconv.Atoi(os.Getenv("WALTZ_KILL_STAGE"))
	n, _ := strconv.Atoi(os.Getenv("WALTZ_KILL_AT"))
	var reached atomic.Int64
	o := applier.Options{
		Name: "ward", Policy: applier.QuarantineKey, BatchTransactionsMax: 7, LettersEvery: time.Millisecond,
		Hooks: applier.Hooks{Stage: func(_ waltz.Partition, s applier.Stage) {
			if int(s) == stage && reached.Add(1) == int64(n) {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it is delivered
			}
		}},
	}
	h := applier.Keyed(applier.On(hitKind, admit), func(r waltz.Record[hit]) []string { return []string{fmt.Sprint(r.Value.Row)} })
	view, err := OpenLog(context.Background(), wardLog(), file, o, h)
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

// admit fails while there is an obstacle.
func admit(ctx context.Context, tx Tx, r waltz.Record[hit]) error {
	_, err := tx.Exec(ctx, "INSERT INTO hits (id, row) VALUES (iif(EXISTS (SELECT 1 FROM obstacles WHERE id = ?1), NULL, ?1), ?2)", int64(r.ID), r.Value.Row)
	return err
}

// F20, F21: SIGKILL at every stage, while there are letters, and some of them are
// retried: each transaction up to the mark is applied or is a letter, never both
// and never neither; and in the end each key has all of its own, in order.
func TestKilledWithLetters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "view.db")
	db, err := OpenDB(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.Exec(`CREATE TABLE hits (at INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, row INTEGER NOT NULL) STRICT;
		CREATE TABLE obstacles (id INTEGER PRIMARY KEY) STRICT; INSERT INTO obstacles VALUES (9), (40), (41), (200), (205), (333)`)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(7, 7))
	killed, rounds := 0, 24
	if os.Getenv("WALTZ_SOAK") != "" {
		rounds = 1000
	}
	for round := 0; ; round++ {
		stage, at := applier.Stage(round%4), 1+rng.IntN(25)
		if round >= rounds {
			at = 1 << 30
		}
		if runVictim(t, file, stage, at, "WALTZ_KILL_WARD=1") {
			eachIsOneThing(t, db)
			if round >= rounds && count(t, db, "SELECT count(*) FROM waltz_dead_letters") == 0 {
				break
			}
		} else {
			killed++
			eachIsOneThing(t, db)
		}
		interfere(t, db, round)
	}
	require.GreaterOrEqual(t, killed, 10)
	require.Equal(t, int64(killTransactions), count(t, db, "SELECT count(*) FROM hits"))
}

// interfere asks for what can't be applied yet, or takes an obstacle away.
func interfere(t *testing.T, db *sql.DB, round int) {
	t.Helper()
	if count(t, db, "SELECT count(*) FROM sqlite_master WHERE name = 'waltz_dead_letters'") == 0 {
		return
	}
	if round%3 == 2 {
		_, err := db.Exec("DELETE FROM obstacles WHERE id = (SELECT min(id) FROM obstacles)")
		require.NoError(t, err)
	}
	_, err := db.Exec("UPDATE waltz_dead_letters SET state = 'retry' WHERE state = 'dead'; UPDATE waltz_high_water_marks SET epoch = epoch + 1")
	require.NoError(t, err)
}

func count(t *testing.T, db *sql.DB, query string) (n int64) {
	t.Helper()
	require.NoError(t, db.QueryRow(query).Scan(&n))
	return n
}

func eachIsOneThing(t *testing.T, db *sql.DB) {
	t.Helper()
	mark := count(t, db, "SELECT coalesce(max(high_water_mark), -1) FROM waltz_high_water_marks")
	applied, letters := count(t, db, "SELECT count(*) FROM hits"), count(t, db, "SELECT count(*) FROM waltz_dead_letters")
	require.Equal(t, mark+1, applied+letters, "%d applied, %d letters", applied, letters)
	require.Zero(t, count(t, db, "SELECT count(*) FROM hits JOIN waltz_dead_letters ON id = transaction_id"))
	require.Zero(t, count(t, db, "SELECT count(*) FROM hits a JOIN hits b ON a.row = b.row AND a.at < b.at AND a.id > b.id"), "each key in its order")
}
