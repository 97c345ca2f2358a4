package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os/exec"
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
	log := appliertest.NewLog("ward", 1)
	for i := range killTransactions {
		var tx waltz.Transaction
		if err := hitKind.Put(&tx, hit{Row: int64(i % 7), Add: int64(i)}); err != nil {
			panic(err)
		}
		log.Append(0, tx)
	}
	return log
}

// applyWard applies with a quarantine, and retries what it is asked for.
func applyWard(url string, o applier.Options) error {
	o.Name, o.Policy, o.LettersEvery = "ward", applier.QuarantineKey, time.Millisecond
	h := applier.Keyed(applier.On(hitKind, admit), func(r waltz.Record[hit]) []string { return []string{fmt.Sprint(r.Value.Row)} })
	view, err := OpenLog(context.Background(), wardLog(), url, o, h)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- view.Run(ctx) }()
	if err := view.WaitFor(ctx, 0, killTransactions-1); err != nil {
		return err
	}
	if _, err := view.Retry(ctx, 0, 0, -1); err != nil { // of none: what was asked for before is done when it returns
		return err
	}
	cancel()
	if err := <-ended; err != nil {
		return err
	}
	return view.Close()
}

// admit fails while there is an obstacle.
func admit(ctx context.Context, tx *Tx, r waltz.Record[hit]) error {
	_, err := tx.Exec(ctx, "INSERT INTO admitted (id, key_) VALUES (IF(EXISTS (SELECT 1 FROM obstacles WHERE id = ?), NULL, ?), ?)", int64(r.ID), int64(r.ID), r.Value.Row)
	return err
}

// F20, F21: SIGKILL at every stage, while there are letters, and some of them are
// retried: each transaction up to the mark is applied or is a letter, never both
// and never neither; and in the end each key has all of its own, in order.
func TestKilledWithLetters(t *testing.T) {
	url := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, url)
	for _, query := range []string{
		"CREATE TABLE admitted (at_ bigint AUTO_INCREMENT PRIMARY KEY, id bigint NOT NULL UNIQUE, key_ bigint NOT NULL)",
		"CREATE TABLE obstacles (id bigint PRIMARY KEY)", "INSERT INTO obstacles VALUES (9), (40), (41), (200), (205), (333)",
	} {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
	rng := rand.New(rand.NewPCG(7, 7))
	killed, rounds := 0, kills()
	for round := 0; ; round++ {
		stage, at := applier.Stage(round%4), 1+rng.IntN(25)
		if round >= rounds {
			at = 1 << 30
		}
		out, err := victimCommand(t, url, syscall.SIGKILL, stage, at, "WALTZ_KILL_WARD=1").CombinedOutput()
		if err != nil {
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "%s", out)
			killed++
		}
		eachIsOneThing(t, db)
		if err == nil && round >= rounds && count(t, db, "SELECT count(*) FROM waltz_dead_letters") == 0 {
			break
		}
		interfere(t, db, round)
	}
	require.GreaterOrEqual(t, killed, 10)
	require.Equal(t, int64(killTransactions), count(t, db, "SELECT count(*) FROM admitted"))
}

// interfere asks for what can't be applied yet, or takes an obstacle away.
func interfere(t *testing.T, db *sql.DB, round int) {
	t.Helper()
	queries := []string{"UPDATE waltz_high_water_marks SET epoch = epoch + 1", "UPDATE waltz_dead_letters SET state = 'retry' WHERE state = 'dead'"}
	if round%3 == 2 {
		queries = append(queries, "DELETE FROM obstacles ORDER BY id LIMIT 1")
	}
	for _, query := range queries {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
}

func count(t *testing.T, db *sql.DB, query string) (n int64) {
	t.Helper()
	require.NoError(t, db.QueryRow(query).Scan(&n))
	return n
}

func eachIsOneThing(t *testing.T, db *sql.DB) {
	t.Helper()
	mark := count(t, db, "SELECT coalesce(max(high_water_mark), -1) FROM waltz_high_water_marks")
	applied, letters := count(t, db, "SELECT count(*) FROM admitted"), count(t, db, "SELECT count(*) FROM waltz_dead_letters")
	require.Equal(t, mark+1, applied+letters, "%d applied, %d letters", applied, letters)
	require.Zero(t, count(t, db, "SELECT count(*) FROM admitted JOIN waltz_dead_letters ON id = transaction_id"))
	require.Zero(t, count(t, db, "SELECT count(*) FROM admitted a JOIN admitted b ON a.key_ = b.key_ AND a.at_ < b.at_ AND a.id > b.id"), "each key in its order")
}
