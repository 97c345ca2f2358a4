package mysql

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// within runs work in a step on a new database with a table, and returns what
// Apply says.
func within(t *testing.T, work func(ctx context.Context, tx *Tx) error) error {
	t.Helper()
	s := newSets(t, servers.MariaDB(t).NewDatabase(t))
	_, err := s.db.Exec("CREATE TABLE t (id int PRIMARY KEY, i int)")
	require.NoError(t, err)
	return s.apply(t.Context(), work)
}

func TestExecCountsWhatItFinds(t *testing.T) {
	require.NoError(t, within(t, func(ctx context.Context, tx *Tx) error {
		n, err := tx.Exec(ctx, "INSERT INTO t VALUES (?, ?), (?, ?)", 1, 1, 2, 2)
		require.NoError(t, err)
		require.Equal(t, int64(2), n)
		n, err = tx.Exec(ctx, "UPDATE t SET i = 1 WHERE id = ?", 1)
		require.NoError(t, err)
		require.Equal(t, int64(1), n, "though it held that value already")
		n, err = tx.Exec(ctx, "DELETE FROM t WHERE id = 7")
		require.NoError(t, err)
		require.Zero(t, n)
		return nil
	}))
}

func TestQueriesSeeWhatWasWritten(t *testing.T) {
	require.NoError(t, within(t, func(ctx context.Context, tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO t VALUES (1, 1), (2, NULL), (3, 9)")
		require.NoError(t, err)
		rows, err := tx.Query(ctx, "SELECT id, i FROM t WHERE id < ? ORDER BY id", 3)
		require.NoError(t, err)
		require.Equal(t, []string{"id", "i"}, rows.Columns())
		var got []int
		for rows.Next() {
			var id int
			var i *int
			require.NoError(t, rows.Scan(&id, &i))
			got = append(got, id)
		}
		require.NoError(t, rows.Err())
		require.Equal(t, []int{1, 2}, got)
		require.Nil(t, rows.Columns())
		require.NoError(t, rows.Close())
		var id int
		require.ErrorIs(t, tx.QueryRow(ctx, "SELECT id FROM t WHERE id = 7").Scan(&id), sql.ErrNoRows)
		_, err = tx.Exec(ctx, "INSERT INTO t VALUES (7, 7)")
		require.NoError(t, err, "no row is an answer")
		rows, err = tx.Query(ctx, "SELECT id FROM t")
		require.NoError(t, err)
		require.True(t, rows.Next())
		require.NoError(t, rows.Close())
		_, err = tx.Exec(ctx, "DELETE FROM t")
		return err
	}))
}

// A connection gives one answer after the other: what would mix them up is an error,
// and no handler can swallow it.
func TestStatementsInTheMiddleOfRows(t *testing.T) {
	err := within(t, func(ctx context.Context, tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO t VALUES (1, 1), (2, 2)")
		require.NoError(t, err)
		rows, err := tx.Query(ctx, "SELECT id FROM t")
		require.NoError(t, err)
		require.True(t, rows.Next())
		_, err = tx.Exec(ctx, "DELETE FROM t")
		require.ErrorContains(t, err, "close them first")
		return nil
	})
	var escape *applier.EscapeError
	require.ErrorAs(t, err, &escape)
}

// Rows end with their handle, and an error in the middle of them counts (I7).
func TestRowsEndWithTheirHandle(t *testing.T) {
	var rows *Rows
	require.NoError(t, within(t, func(ctx context.Context, tx *Tx) (err error) {
		_, err = tx.Exec(ctx, "INSERT INTO t VALUES (1, 1), (2, 2)")
		require.NoError(t, err)
		rows, err = tx.Query(ctx, "SELECT id FROM t")
		require.True(t, rows.Next())
		return err
	}))
	require.False(t, rows.Next())
	require.Error(t, rows.Scan(new(int)))

	err := within(t, func(ctx context.Context, tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO t VALUES (1, 1), (2, 2)")
		require.NoError(t, err)
		_ = tx.QueryRow(ctx, "SELECT 1 / (id - 2) + (SELECT i FROM t) FROM t").Scan(new(int))
		return nil
	})
	f, _ := mariaDB.fault(err)
	require.Equal(t, "1242 ER_SUBQUERY_NO_1_ROW", f.Code)
}

// Whatever a handler sends that is no single statement on rows never leaves the
// process (F17, F18); what passes the guard all the same is refused by the server.
func TestTextsThatAreRefused(t *testing.T) {
	for _, query := range []string{
		"COMMIT", "SET autocommit = 0", "CALL p()", "/*!50000 COMMIT */", "CREATE TABLE x (id int)", "DELETE FROM t; COMMIT",
		"LOCK TABLES t WRITE", "XA START 'x'", "LOAD DATA INFILE 'x' INTO TABLE t", "HANDLER t OPEN", "TRUNCATE t",
	} {
		err := within(t, func(ctx context.Context, tx *Tx) error {
			_, _ = tx.Exec(ctx, query)
			_, err := tx.Exec(ctx, "INSERT INTO t VALUES (1, 1)")
			require.Error(t, err)
			return nil
		})
		var escape *applier.EscapeError
		require.ErrorAs(t, err, &escape, query)
	}
	err := within(t, func(ctx context.Context, tx *Tx) error {
		_, _ = tx.Query(ctx, "COMMIT")
		return nil
	})
	var escape *applier.EscapeError
	require.ErrorAs(t, err, &escape)
	err = within(t, func(ctx context.Context, tx *Tx) error {
		_, err := tx.exec(ctx, "DELETE FROM t; COMMIT", nil) // past the guard
		return err
	})
	f, _ := mariaDB.fault(err)
	require.Equal(t, "1064 ER_PARSE_ERROR", f.Code)
}

// A statement that runs when its context ends costs the connection, and nothing of
// the step is left.
func TestContextEndsInAStatement(t *testing.T) {
	s := newSets(t, servers.MariaDB(t).NewDatabase(t))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.apply(ctx, func(ctx context.Context, tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO stock VALUES (1, '', 0, '')")
		require.NoError(t, err)
		_, err = tx.Exec(ctx, "UPDATE stock SET n = SLEEP(1)")
		return err
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, s.stock(t))
	require.NoError(t, s.apply(t.Context(), func(context.Context, *Tx) error { return nil }), "the server has freed the row")
	require.Error(t, s.apply(ctx, func(context.Context, *Tx) error { return nil }))

	// One that a handler makes itself ends its statement, too.
	require.ErrorIs(t, s.apply(t.Context(), func(ctx context.Context, tx *Tx) error {
		ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		_, err := tx.Exec(ctx, "SELECT SLEEP(1)")
		return err
	}), context.DeadlineExceeded)
	// And one that ends between two statements.
	ctx, cancel = context.WithCancel(t.Context())
	require.ErrorIs(t, s.apply(ctx, func(ctx context.Context, tx *Tx) error {
		cancel()
		_, err := tx.Exec(ctx, "DELETE FROM stock")
		return err
	}), context.Canceled)
	require.NoError(t, s.apply(t.Context(), func(context.Context, *Tx) error { return nil }))
	require.Zero(t, s.d.writes.Stats().InUse)
}

// A snapshot can't write, ends with its call, and gives its connection back even
// when its reader panics.
func TestSnapshots(t *testing.T) {
	s := newSets(t, servers.MariaDB(t).NewDatabase(t))
	errReader := errors.New("the reader's own")
	var leak *Snapshot
	for range 2 * readsMax {
		require.ErrorIs(t, s.d.Snapshot(t.Context(), s.r.Ref, func(ctx context.Context, v *Snapshot, mark waltz.ID) error {
			require.Equal(t, waltz.None, mark)
			rows, err := v.Query(ctx, "SELECT 1 UNION ALL SELECT 2") // left open
			require.NoError(t, err)
			require.True(t, rows.Next())
			leak = v
			return errReader
		}), errReader)
		require.Panics(t, func() {
			_ = s.d.Snapshot(t.Context(), s.r.Ref, func(context.Context, *Snapshot, waltz.ID) error { panic("oops") })
		})
	}
	require.Error(t, leak.QueryRow(t.Context(), "SELECT 1").Scan(new(int)))
	err := s.d.Snapshot(t.Context(), s.r.Ref, func(ctx context.Context, v *Snapshot, _ waltz.ID) error {
		_, err := v.Query(ctx, "INSERT INTO stock VALUES (1, '', 0, '')")
		return err
	})
	f, _ := s.d.Fault(err)
	require.Equal(t, "1792 ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION", f.Code)
	require.LessOrEqual(t, s.d.reads.Stats().OpenConnections, readsMax)
	require.Zero(t, s.d.reads.Stats().InUse)
}

// What an operator reads is cut to its column, and never in the middle of a character.
func TestFit(t *testing.T) {
	require.Equal(t, "abc", fit("abc", 3))
	require.Equal(t, "ab", fit("abc", 2))
	require.Equal(t, "日", fit("日本", 5))
	require.Equal(t, "a\uFFFD", fit("a\xff", 10))
}
