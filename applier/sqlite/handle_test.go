package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
)

func newSession(t *testing.T) *session {
	t.Helper()
	s, err := openSession(filepath.Join(t.TempDir(), "x.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close()) })
	return s
}

func newTx(t *testing.T) Tx {
	t.Helper()
	s := newSession(t)
	_, err := s.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, i INTEGER, r REAL, s TEXT, b BLOB, d TIMESTAMP)", nil, nil)
	require.NoError(t, err)
	return Tx{&handle{s: s}}
}

func TestValuesGoThereAndBack(t *testing.T) {
	tx, ctx := newTx(t), t.Context()
	type id int32
	when := time.Date(2026, 3, 1, 12, 30, 0, 123456000, time.UTC)
	n, err := tx.Exec(ctx, "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", id(1), int64(1)<<60, 1.5, "text", []byte{0, 255}, when)
	require.NoError(t, err)
	require.Equal(t, int64(1), n)
	var (
		i id
		j int64
		r float64
		s string
		b []byte
		d time.Time
	)
	require.NoError(t, tx.QueryRow(ctx, "SELECT * FROM t").Scan(&i, &j, &r, &s, &b, &d))
	require.Equal(t, id(1), i)
	require.Equal(t, int64(1)<<60, j)
	require.Equal(t, []any{1.5, "text", []byte{0, 255}}, []any{r, s, b})
	require.True(t, when.Equal(d), "%s", d)

	_, err = tx.Exec(ctx, "INSERT INTO t (id) VALUES (:id)", sql.Named("id", 2))
	require.NoError(t, err)
	var null *string
	var maybe sql.Null[int64]
	var any1 any
	require.NoError(t, tx.QueryRow(ctx, "SELECT s, i, r FROM t WHERE id = 2").Scan(&null, &maybe, &any1))
	require.Nil(t, null)
	require.False(t, maybe.Valid)
	require.Nil(t, any1)
	require.NoError(t, tx.QueryRow(ctx, "SELECT s FROM t WHERE id = 1").Scan(&null))
	require.Equal(t, "text", *null)
}

func TestScanRefusesWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		dest  any
		value driver.Value
	}{
		{new(int8), int64(128)},
		{new(uint), int64(-1)},
		{new(bool), int64(2)},
		{new(int64), "secret"},
		{new(int64), nil},
		{new(string), nil},
		{new(float32), "secret"},
		{new(time.Time), "secret"},
		{new(float64), int64(1<<53 + 1)},
		{"not a pointer", "secret"},
		{(*int64)(nil), "secret"},
	} {
		err := assign(c.dest, c.value)
		require.Error(t, err, "%T from %v", c.dest, c.value)
		require.NotContains(t, err.Error(), "secret")
	}
	for _, c := range []struct {
		dest  any
		value driver.Value
	}{
		{new(int8), int64(127)},
		{new(uint16), int64(1)},
		{new(bool), int64(1)},
		{new(float64), int64(1 << 53)},
		{new(string), int64(12)},
		{new(string), []byte("x")},
		{new([]byte), "x"},
		{new(**int64), int64(1)},
	} {
		require.NoError(t, assign(c.dest, c.value), "%T from %v", c.dest, c.value)
	}
}

func TestQueriesNest(t *testing.T) {
	tx, ctx := newTx(t), t.Context()
	for i := range 5 {
		_, err := tx.Exec(ctx, "INSERT INTO t (id, i) VALUES (?, ?)", i, i*i)
		require.NoError(t, err)
	}
	const query = "SELECT id, i FROM t WHERE id >= ? ORDER BY id"
	pairs := 0
	outer, err := tx.Query(ctx, query, 0)
	require.NoError(t, err)
	require.Equal(t, []string{"id", "i"}, outer.Columns())
	for outer.Next() {
		var id, square int
		require.NoError(t, outer.Scan(&id, &square))
		inner, err := tx.Query(ctx, query, id) // the same text, while its rows are open
		require.NoError(t, err)
		for inner.Next() {
			pairs++
		}
		require.NoError(t, inner.Err())
	}
	require.NoError(t, outer.Err())
	require.Equal(t, 15, pairs)
	require.Empty(t, tx.h.s.open)
}

func TestNoRowIsAnAnswer(t *testing.T) {
	tx, ctx := newTx(t), t.Context()
	var id int
	require.ErrorIs(t, tx.QueryRow(ctx, "SELECT id FROM t").Scan(&id), sql.ErrNoRows)
	_, err := tx.Exec(ctx, "INSERT INTO t (id) VALUES (1)")
	require.NoError(t, err)
	require.NoError(t, tx.h.end(nil))
}

func TestRowsEndWithTheirHandle(t *testing.T) {
	tx, ctx := newTx(t), t.Context()
	_, err := tx.Exec(ctx, "INSERT INTO t (id) VALUES (1), (2)")
	require.NoError(t, err)
	rows, err := tx.Query(ctx, "SELECT id FROM t")
	require.NoError(t, err)
	require.True(t, rows.Next())
	require.NoError(t, tx.h.end(nil))
	require.False(t, rows.Next())
	require.Error(t, rows.Scan(new(int)))
}

// An error in the middle of rows can't be swallowed either (I7).
func TestErrorsOfRowsCount(t *testing.T) {
	tx := newTx(t)
	_, err := tx.Exec(t.Context(), "INSERT INTO t (id, i) VALUES (1, 1), (2, 0)")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	rows, err := tx.Query(ctx, "SELECT id FROM t")
	require.NoError(t, err)
	require.True(t, rows.Next())
	cancel()
	require.False(t, rows.Next())
	require.ErrorIs(t, rows.Err(), context.Canceled)
	require.ErrorIs(t, tx.h.end(nil), context.Canceled)
}

func TestStatementsAreBounded(t *testing.T) {
	tx, ctx := newTx(t), t.Context()
	for i := range statementsMax + 50 {
		var n int
		require.NoError(t, tx.QueryRow(ctx, fmt.Sprintf("SELECT %d", i)).Scan(&n))
		require.Equal(t, i, n)
	}
	require.Len(t, tx.h.s.prepared, statementsMax)
}

// The framework's own statements are prepared on the same connection. That must
// not let a handler run them.
func TestPreparedCommitIsNotForHandlers(t *testing.T) {
	tx := newTx(t)
	_, err := tx.h.s.exec("BEGIN IMMEDIATE", nil, nil)
	require.NoError(t, err)
	_, err = tx.h.s.exec("COMMIT", nil, nil)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), "COMMIT")
	var escape *applier.EscapeError
	require.ErrorAs(t, err, &escape)
}

func TestPaths(t *testing.T) {
	for file, want := range map[string]string{
		"sqlite:///a/b.db":    "/a/b.db",
		"sqlite:///a%20b.db":  "/a b.db",
		"/a/b?c#d.db":         "/a/b?c#d.db",
		"sqlite:///a/../b.db": "/b.db",
		"SQLite:///a/b.db":    "/a/b.db",
		"/a/sqlite:/b.db":     "/a/sqlite:/b.db",
	} {
		got, err := Path(file)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, file := range []string{
		"", ":memory:", "sqlite://", "sqlite:///", "sqlite:///a/", "sqlite:///a?x=y", "sqlite:///a?", "sqlite:///a#b",
		"sqlite://user@/a", "sqlite:", "postgres://h/db", "sqlite:///%zz",
	} {
		_, err := Path(file)
		require.ErrorContains(t, err, "database", file)
	}
}

// An address with one slash, or with none, looks like a path and is none: it
// would name another file than the one that was meant.
func TestMistypedAddressesAreCorrected(t *testing.T) {
	for file, right := range map[string]string{
		"sqlite:/a/b.db":          "sqlite:///a/b.db",
		"sqlite://a/b.db":         "sqlite:///a/b.db",
		"sqlite://relative.db":    "sqlite:///relative.db",
		"sqlite:a/b.db":           "sqlite:///a/b.db",
		"SQLITE:/a/b.db":          "sqlite:///a/b.db",
		"sqlite://localhost/b.db": "sqlite:///localhost/b.db",
	} {
		_, err := Path(file)
		require.ErrorContains(t, err, right, file)
		_, err = OpenDB(file)
		require.ErrorContains(t, err, right, file)
	}
}

func TestOddFileNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a b?c=d#e%20f&.db")
	db, err := OpenDB(file)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var level, name string
	require.NoError(t, db.QueryRow("SELECT file FROM pragma_database_list").Scan(&name))
	require.Equal(t, file, name)
	require.NoError(t, db.QueryRow("PRAGMA synchronous").Scan(&level))
	require.Equal(t, "2", level)
	require.NoError(t, db.QueryRow("PRAGMA journal_mode").Scan(&level))
	require.Equal(t, "wal", level)
}

func TestFaults(t *testing.T) {
	tx, ctx := newTx(t), t.Context()
	_, err := tx.Exec(ctx, "INSERT INTO t (id, s) VALUES (1, 'secret')")
	require.NoError(t, err)
	for query, want := range map[string]applier.Fault{
		"INSERT INTO t (id) VALUES (1)":        {Class: applier.ClassData, Code: "SQLITE_CONSTRAINT_PRIMARYKEY"},
		"INSERT INTO nowhere VALUES (1)":       {Class: applier.ClassConfiguration, Code: "SQLITE_ERROR"},
		"INSERT INTO t (id) VALUES ('secret')": {Class: applier.ClassData, Code: "SQLITE_MISMATCH"},
	} {
		_, err := tx.h.s.exec(query, nil, nil)
		f, is := fault(err)
		require.True(t, is)
		require.Equal(t, want.Class, f.Class, query)
		require.Equal(t, want.Code, f.Code, query)
		require.NotContains(t, f.Text, "secret")
	}
	_, is := fault(errors.New("handler's own"))
	require.False(t, is)
}

// The writer is another process, as far as SQLite can tell: busy passes.
func TestBusyIsWaitedOut(t *testing.T) {
	empty := newEmpty(t)
	conn, err := empty.Connect()
	require.NoError(t, err)
	d := conn.(*database)
	defer func() { require.NoError(t, d.Close()) }()
	s := <-d.w.turn
	_, err = s.exec("PRAGMA busy_timeout = 1", nil, nil)
	require.NoError(t, err)
	d.w.turn <- s
	other, err := openSession(d.path)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.close()) }()
	_, err = other.exec("BEGIN IMMEDIATE", nil, nil)
	require.NoError(t, err)
	_, err = d.Load(t.Context(), applier.Identity{Name: "v", Version: 1, LogID: "l"}, 1)
	f, is := d.Fault(err)
	require.True(t, is)
	require.Equal(t, applier.ClassBackOff, f.Class)
	_, err = other.exec("COMMIT", nil, nil)
	require.NoError(t, err)
	_, err = d.Load(t.Context(), applier.Identity{Name: "v", Version: 1, LogID: "l"}, 1)
	require.NoError(t, err)
}
