package mysql

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

// danger is a database with a few rows, in which InnoDB is shown to commit a mark
// without its data, and then not to.
type danger struct {
	t    *testing.T
	db   *sql.DB // of the test's own
	d    *database
	rows []applier.Row
}

func newDanger(t *testing.T) *danger {
	url := servers.MariaDB(t).NewDatabase(t) + "?innodb_lock_wait_timeout=1"
	w := &danger{t: t, db: migrated(t, url)}
	w.must("CREATE TABLE effects (id bigint PRIMARY KEY, n bigint NOT NULL)")
	w.must("INSERT INTO effects VALUES (7, 0), (8, 0)")
	var err error
	w.d, err = open(t.Context(), url, applier.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.d.Close()) })
	w.rows, err = w.d.Load(t.Context(), applier.Identity{Name: "danger", Version: 1, LogID: "log"}, 2)
	require.NoError(t, err)
	return w
}

func (w *danger) must(query string, args ...any) {
	w.t.Helper()
	_, err := w.db.Exec(query, args...)
	require.NoError(w.t, err)
}

func (w *danger) count(query string, args ...any) (n int64) {
	w.t.Helper()
	require.NoError(w.t, w.db.QueryRow(query, args...).Scan(&n))
	return n
}

func (w *danger) mark(p int) int64 {
	w.t.Helper()
	return w.count("SELECT high_water_mark FROM waltz_high_water_marks WHERE `partition` = ?", p)
}

// other is a connection of somebody else.
func (w *danger) other() *sql.Conn {
	w.t.Helper()
	c, err := w.db.Conn(w.t.Context())
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// naively does what a program without our guards would: the statements, whatever they
// return, and the mark beside them. It ends with COMMIT, or with what end says.
func (w *danger) naively(c *sql.Conn, end string, statements ...string) (errs []error) {
	for _, query := range append(append([]string{"START TRANSACTION"}, statements...), end) {
		_, err := c.ExecContext(w.t.Context(), query)
		errs = append(errs, err)
	}
	return errs
}

const moveMark = "UPDATE waltz_high_water_marks SET high_water_mark = 0 WHERE `partition` = 0"

// reset forgets what the naive program did.
func (w *danger) reset() {
	w.must("DELETE FROM effects WHERE id > 8")
	w.must("UPDATE effects SET n = 0")
	w.must("UPDATE waltz_high_water_marks SET high_water_mark = -1")
}

// apply does a step of a partition whose handler swallows whatever happens.
func (w *danger) apply(p int, work func(ctx context.Context, tx *Tx)) error {
	return w.d.Apply(w.t.Context(), &applier.Step[*Tx]{
		Ref: w.rows[p].Ref, Old: waltz.None, New: 0, Transactions: 1,
		Work: func(ctx context.Context, tx *Tx) error { work(ctx, tx); return nil },
	})
}

// nothing proves that no effect is there, nor will be once the connection is used again.
func (w *danger) nothing(err error, class applier.Class, code string) {
	w.t.Helper()
	require.Error(w.t, err)
	f, is := w.d.Fault(err)
	require.True(w.t, is)
	require.Equal(w.t, class, f.Class, "%v", err)
	require.Equal(w.t, code, f.Code)
	require.NoError(w.t, w.apply(1, func(context.Context, *Tx) {}), "another partition gets the connection")
	require.Equal(w.t, int64(-1), w.mark(0))
	require.Equal(w.t, int64(0), w.mark(1))
	require.Zero(w.t, w.count("SELECT coalesce(sum(n), 0) FROM effects"))
	require.Equal(w.t, int64(2), w.count("SELECT count(*) FROM effects"))
}

// D3, first way: a duplicate key undoes one statement, and COMMIT keeps the mark (I7).
func TestSwallowedDuplicateKey(t *testing.T) {
	w := newDanger(t)
	const insert, update = "INSERT INTO effects VALUES (7, 100)", "UPDATE effects SET n = n + 1 WHERE id = 8"
	errs := w.naively(w.other(), "COMMIT", moveMark, insert, update)
	require.ErrorContains(t, errs[2], "1062")
	require.NoError(t, errs[4], "COMMIT")
	require.Equal(t, int64(0), w.mark(0), "the mark is there, the data is not")
	require.Zero(t, w.count("SELECT n FROM effects WHERE id = 7"))

	w.reset()
	err := w.apply(0, func(ctx context.Context, tx *Tx) {
		_, _ = tx.Exec(ctx, insert)
		_, _ = tx.Exec(ctx, update)
	})
	w.nothing(err, applier.ClassData, "1062 ER_DUP_ENTRY")
}

// D3, second way: a lock wait that times out undoes one statement, and COMMIT keeps the
// mark; so does a connection that is used again without a ROLLBACK.
func TestSwallowedLockTimeout(t *testing.T) {
	w := newDanger(t)
	const blocked, update = "UPDATE effects SET n = 100 WHERE id = 7", "UPDATE effects SET n = n + 1 WHERE id = 8"
	holder := w.other()
	for _, query := range []string{"START TRANSACTION", "UPDATE effects SET n = 0 WHERE id = 7", "SELECT n FROM effects WHERE id = 7 FOR UPDATE"} {
		_, err := holder.ExecContext(t.Context(), query)
		require.NoError(t, err)
	}
	errs := w.naively(w.other(), "COMMIT", moveMark, blocked, update)
	require.ErrorContains(t, errs[2], "1205")
	require.NoError(t, errs[4], "COMMIT")
	require.Equal(t, int64(0), w.mark(0), "the mark is there, the data is not")
	require.Zero(t, w.count("SELECT n FROM effects WHERE id = 7"))

	w.must("UPDATE effects SET n = 0 WHERE id = 8")
	w.must("UPDATE waltz_high_water_marks SET high_water_mark = -1")
	err := w.apply(0, func(ctx context.Context, tx *Tx) {
		_, _ = tx.Exec(ctx, blocked)
		_, _ = tx.Exec(ctx, update)
	})
	w.nothing(err, applier.ClassRetry, "1205 ER_LOCK_WAIT_TIMEOUT")
}

// deadlock runs statements of a connection so that the last one is chosen as the
// victim: it closes the circle, and the other one has written more.
func (w *danger) deadlock(run func(then func())) {
	heavy := w.other()
	for _, query := range []string{
		"START TRANSACTION", "INSERT INTO effects WITH RECURSIVE s (i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM s WHERE i < 400) SELECT i, 0 FROM s",
		"UPDATE effects SET n = n + 0 WHERE id = 7", "SELECT n FROM effects WHERE id = 7 FOR UPDATE",
	} {
		_, err := heavy.ExecContext(context.Background(), query)
		require.NoError(w.t, err)
	}
	waited := make(chan error, 1)
	run(func() {
		go func() {
			_, err := heavy.ExecContext(context.Background(), "UPDATE effects SET n = n + 0 WHERE id = 8")
			waited <- err
		}()
		require.Eventually(w.t, func() bool {
			return w.count("SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'") > 0
		}, patience, 1e6)
	})
	require.NoError(w.t, <-waited)
	_, err := heavy.ExecContext(context.Background(), "ROLLBACK")
	require.NoError(w.t, err)
}

// D3, third way: the victim of a deadlock has lost its SQL transaction, and what it
// goes on to do is committed statement by statement.
func TestSwallowedDeadlock(t *testing.T) {
	w := newDanger(t)
	const mine, victim, after = "UPDATE effects SET n = n + 1 WHERE id = 8", "UPDATE effects SET n = n + 1 WHERE id = 7", "INSERT INTO effects VALUES (9, 1)"
	naive := w.other()
	w.deadlock(func(then func()) {
		require.NoError(t, w.naively(naive, "SELECT 1", mine)[1])
		then()
		_, err := naive.ExecContext(t.Context(), victim)
		require.ErrorContains(t, err, "1213")
		for _, query := range []string{after, moveMark, "ROLLBACK"} {
			_, err := naive.ExecContext(t.Context(), query)
			require.NoError(t, err)
		}
	})
	require.Equal(t, int64(0), w.mark(0), "the mark was committed at once, whatever came after it")
	require.Zero(t, w.count("SELECT n FROM effects WHERE id = 8"), "the data before it is gone")

	w.reset()
	var err error
	w.deadlock(func(then func()) {
		err = w.apply(0, func(ctx context.Context, tx *Tx) {
			_, e := tx.Exec(ctx, mine)
			require.NoError(t, e)
			then()
			_, _ = tx.Exec(ctx, victim)
			_, _ = tx.Exec(ctx, after)
		})
	})
	w.nothing(err, applier.ClassRetry, "1213 ER_LOCK_DEADLOCK")
}

// D3, fourth way: DDL commits what is there so far, and a ROLLBACK after it does
// nothing. A handler can't send any, so it is hidden from the guard here, as a
// procedure would.
func TestHiddenDDL(t *testing.T) {
	w := newDanger(t)
	const half, ddl = "UPDATE effects SET n = n + 1 WHERE id = 8", "CREATE TABLE hidden (id int)"
	for _, err := range w.naively(w.other(), "ROLLBACK", moveMark, half, ddl) {
		require.NoError(t, err)
	}
	require.Equal(t, int64(0), w.mark(0), "rolled back, and there all the same")
	require.Equal(t, int64(1), w.count("SELECT n FROM effects WHERE id = 8"))

	w.reset()
	w.must("DROP TABLE hidden")
	err := w.apply(0, func(ctx context.Context, tx *Tx) {
		_, _ = tx.Exec(ctx, half)
		_, err := tx.c.exec(ctx, ddl)
		require.NoError(t, err)
	})
	require.ErrorIs(t, err, applier.ErrImplicitCommit)
	f, _ := w.d.Fault(err)
	require.Equal(t, applier.ClassBug, f.Class)
}

// After an implicit commit the view stops at once, whatever the policy: going on would
// hide it (F17).
func TestHiddenDDLStopsTheView(t *testing.T) {
	url := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, url)
	hitTables(t, db)
	log := hitLog(1, 10)
	calls := 0
	err := run(t, log, url, applier.Options{Policy: applier.DeadLetter}, applier.On(hitKind, func(ctx context.Context, tx *Tx, r waltz.Record[hit]) error {
		if r.ID == 5 {
			calls++
			_, err := tx.c.exec(ctx, "CREATE TABLE hidden (id int)")
			require.NoError(t, err)
		}
		return applyHit(ctx, tx, r)
	})).stopped()
	require.ErrorIs(t, err, applier.ErrImplicitCommit)
	require.Equal(t, 1, calls)
	var state, code string
	require.NoError(t, db.QueryRow("SELECT state, last_error_code FROM waltz_high_water_marks").Scan(&state, &code))
	require.Equal(t, "stopped", state)
	require.Equal(t, "implicit commit", code)
}

// MariaDB commits before it finds out that DDL is denied: the error that the handler
// then returns must not hide that its ROLLBACK comes too late (I7).
func TestDeniedDDLStopsTheView(t *testing.T) {
	addr := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, addr)
	hitTables(t, db)
	denied := restricted(t, db, addr)
	for _, hide := range []func(error) error{
		func(err error) error { return err },
		func(err error) error { return applier.WithClass(applier.ClassRetry, err) },
		func(error) error { return errors.New("something else") },
	} {
		v := run(t, hitLog(1, 50), denied, applier.Options{Migrate: applier.MigrateCheck, Policy: applier.DeadLetter}, applier.On(hitKind, func(ctx context.Context, tx *Tx, r waltz.Record[hit]) error {
			if r.ID == 40 {
				_, err := tx.c.exec(ctx, "CREATE TABLE hidden (id int)")
				require.ErrorContains(t, err, "1142")
				return hide(err)
			}
			return applyHit(ctx, tx, r)
		}))
		require.ErrorIs(t, v.stopped(), applier.ErrImplicitCommit)
		var mark, hits int64
		require.NoError(t, db.QueryRow("SELECT high_water_mark, (SELECT count(*) FROM hits) FROM waltz_high_water_marks").Scan(&mark, &hits))
		require.Equal(t, []int64{49, 40}, []int64{mark, hits}, "the damage is done, and the view has stopped")
		forgetHits(t, db)
	}
}

// Two partitions whose handlers lock rows crosswise: InnoDB takes one back, it is
// tried again, and nothing is lost.
func TestDeadlocksAreTriedAgain(t *testing.T) {
	url := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, url)
	hitTables(t, db)
	log := appliertest.NewLog("hits", 2)
	v := run(t, log, url, applier.Options{}, applier.On(hitKind, func(ctx context.Context, tx *Tx, r waltz.Record[hit]) error {
		// Rows up in one partition, down in the other.
		for i := range int64(sumRows) {
			row := i
			if r.Partition == 1 {
				row = sumRows - 1 - i
			}
			if _, err := tx.Exec(ctx, "UPDATE sums SET sum = sum + ? WHERE row_number_ = ?", 0, row); err != nil {
				return err
			}
		}
		return applyHit(ctx, tx, r)
	}))
	const n = 300
	retries := func() (n uint64) {
		for _, s := range v.Status() {
			n += s.Retries
		}
		return n
	}
	for i := 0; i < n || retries() == 0; i++ {
		require.Less(t, i, 100*n, "no deadlock came about")
		for p := range 2 {
			appendHits(log, waltz.Partition(p), i, i+1)
		}
		v.wait(0, i)
	}
	for p := range 2 {
		end, err := log.HighWaterMark(t.Context(), waltz.Partition(p))
		require.NoError(t, err)
		v.wait(waltz.Partition(p), int(end))
	}
	exactHits(t, db, 2)
}
