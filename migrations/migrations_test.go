package migrations_test

import (
	"context"
	"database/sql"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/waltz-log/waltz/migrations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, file, pragmas string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file+pragmas)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

const settings = "?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)"

func newDB(t *testing.T) *sql.DB {
	return open(t, filepath.Join(t.TempDir(), "app.db"), settings)
}

func migrator(t *testing.T, db *sql.DB, d migrations.Dialect) *migrations.Migrator {
	t.Helper()
	m, err := migrations.New(db, d, migrations.Options{})
	require.NoError(t, err)
	return m
}

func tables(t *testing.T, db *sql.DB) []string {
	t.Helper()
	rows, err := db.Query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
	require.NoError(t, err)
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	return names
}

func TestUpFromEmpty(t *testing.T) {
	db := newDB(t)
	m := migrator(t, db, migrations.SQLite)
	pending, err := m.HasPending(t.Context())
	require.NoError(t, err)
	require.True(t, pending)
	var schema *migrations.SchemaError
	require.ErrorAs(t, m.Check(t.Context()), &schema)
	require.ErrorContains(t, schema, "version 0 of 3, pending: 00001_high_water_marks.sql, 00002_keys.sql, 00003_dead_letters.sql")
	require.Empty(t, tables(t, db), "looking changes nothing")

	done, err := m.Up(t.Context())
	require.NoError(t, err)
	require.Len(t, done, 3)
	require.Equal(t, []string{"waltz_dead_letters", "waltz_high_water_marks", "waltz_keys", "waltz_schema_lock", "waltz_schema_version"}, tables(t, db))
	require.NoError(t, m.Check(t.Context()))
	status, err := m.Status(t.Context())
	require.NoError(t, err)
	for _, s := range status {
		require.True(t, s.Applied, s.Name)
	}
	done, err = m.Up(t.Context())
	require.NoError(t, err)
	require.Empty(t, done)
}

func TestPartialUpGoesOn(t *testing.T) {
	db := newDB(t)
	_, err := db.Exec("CREATE TABLE waltz_keys (x int)") // in the way of the second one
	require.NoError(t, err)
	m := migrator(t, db, migrations.SQLite)
	done, err := m.Up(t.Context())
	require.ErrorContains(t, err, "00002_keys.sql failed")
	require.Len(t, done, 1)
	_, err = db.Exec("DROP TABLE waltz_keys")
	require.NoError(t, err)
	done, err = m.Up(t.Context())
	require.NoError(t, err)
	require.Len(t, done, 2)
}

// F30: any number of instances from empty at once, even on pools without a busy
// timeout.
func TestManyAtOnce(t *testing.T) {
	for _, pragmas := range []string{settings, "?_pragma=journal_mode(wal)&_pragma=busy_timeout(100)"} {
		file := filepath.Join(t.TempDir(), "app.db")
		var wg sync.WaitGroup
		var mu sync.Mutex
		applied := 0
		for range 4 {
			db := open(t, file, pragmas)
			wg.Go(func() {
				m, err := migrations.New(db, migrations.SQLite, migrations.Options{})
				if err == nil {
					var done []migrations.Migration
					done, err = m.Up(t.Context())
					mu.Lock()
					applied += len(done)
					mu.Unlock()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 3, applied, "each migration was applied by one")
	}
}

// F30: the application's own goose with the same version numbers in one database.
func TestBesideTheApplicationsOwn(t *testing.T) {
	db := newDB(t)
	m := migrator(t, db, migrations.SQLite)
	_, err := m.Up(t.Context())
	require.NoError(t, err)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, fstest.MapFS{
		"00001_accounts.sql": {Data: []byte("-- +goose Up\nCREATE TABLE accounts (id int);\n")},
		"00002_entries.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE entries (id int);\n")},
	})
	require.NoError(t, err)
	results, err := p.Up(t.Context())
	require.NoError(t, err)
	require.Len(t, results, 2)
	require.NoError(t, m.Check(t.Context()))
	require.Contains(t, tables(t, db), "goose_db_version")
}

func TestNewerSchemaIsRefused(t *testing.T) {
	db := newDB(t)
	m := migrator(t, db, migrations.SQLite)
	_, err := m.Up(t.Context())
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO waltz_schema_version (version_id, is_applied) VALUES (7, true)")
	require.NoError(t, err)
	for _, err := range []error{m.Check(t.Context()), second(m.Up(t.Context()))} {
		require.ErrorContains(t, err, "version 7, newer than the 3 that this program knows")
	}
}

func second(_ []migrations.Migration, err error) error { return err }

func TestLockOfADeadInstanceRunsOut(t *testing.T) {
	db := newDB(t)
	_, err := db.Exec("CREATE TABLE waltz_schema_lock (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL) STRICT; INSERT INTO waltz_schema_lock VALUES (1, 'dead', 1000)")
	require.NoError(t, err)
	_, err = migrator(t, db, migrations.SQLite).Up(t.Context())
	require.NoError(t, err)
}

func TestLockIsWaitedFor(t *testing.T) {
	db := newDB(t)
	_, err := db.Exec("CREATE TABLE waltz_schema_lock (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL) STRICT; INSERT INTO waltz_schema_lock VALUES (1, 'alive', 9000000000000)")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = migrator(t, db, migrations.SQLite).Up(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

// What SQL writes makes the schema that this module then takes for its own.
func TestExportedSQL(t *testing.T) {
	for _, format := range []migrations.Format{migrations.Goose, migrations.Plain} {
		t.Run(string(format), func(t *testing.T) {
			db := newDB(t)
			m := migrator(t, db, migrations.SQLite)
			files, err := m.SQL(1, 0, format)
			require.NoError(t, err)
			apply(t, db, files, format)
			require.NoError(t, m.Check(t.Context()))
			done, err := m.Up(t.Context())
			require.NoError(t, err)
			require.Empty(t, done)
		})
	}
}

func apply(t *testing.T, db *sql.DB, files []migrations.File, format migrations.Format) {
	t.Helper()
	if format == migrations.Plain {
		for _, f := range files {
			require.NotContains(t, f.SQL, "goose ")
			require.NotContains(t, f.SQL, "DROP")
			_, err := db.Exec(f.SQL)
			require.NoError(t, err)
		}
		return
	}
	dir := fstest.MapFS{}
	for _, f := range files {
		dir[f.Name] = &fstest.MapFile{Data: []byte(f.SQL)}
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, fs.FS(dir))
	require.NoError(t, err)
	_, err = p.Up(t.Context())
	require.NoError(t, err)
	_, err = p.DownTo(t.Context(), 0)
	require.NoError(t, err)
	_, err = p.Up(t.Context())
	require.NoError(t, err)
}

func TestExportRange(t *testing.T) {
	m := migrator(t, newDB(t), migrations.SQLite)
	files, err := m.SQL(2, 3, migrations.Plain)
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, wrong := range [][2]int64{{0, 1}, {2, 1}, {1, 4}} {
		_, err := m.SQL(wrong[0], wrong[1], migrations.Plain)
		require.ErrorContains(t, err, "there are 1 to 3")
	}
	_, err = m.SQL(1, 0, "xml")
	require.ErrorContains(t, err, "goose or plain")
	_, err = migrations.New(nil, "oracle", migrations.Options{})
	require.ErrorContains(t, err, "sqlite, postgres or mysql")
}

// goose reads SQL only when it runs it, so that a broken file of a database that
// is not at hand would stay unnoticed.
func TestEveryFileFollowsTheRules(t *testing.T) {
	for _, d := range []migrations.Dialect{migrations.SQLite, migrations.Postgres, migrations.MySQL} {
		files, err := migrator(t, newDB(t), d).SQL(1, 0, migrations.Goose)
		require.NoError(t, err)
		require.Len(t, files, 3, d)
		for _, f := range files {
			up, down, found := strings.Cut(f.SQL, "-- +goose Down")
			require.True(t, found && strings.Contains(up, "-- +goose Up"), "%s %s", d, f.Name)
			require.Contains(t, f.SQL, "transaction", "%s %s says whether it may share one", d, f.Name)
			ddl := strings.Count(up, "CREATE TABLE") - strings.Count(up, "EXISTS "+migrations.VersionTable)
			require.Equal(t, 1, ddl, "%s %s: one DDL statement per file", d, f.Name)
			require.Equal(t, 1, strings.Count(down, "DROP TABLE"))
			if d == migrations.MySQL {
				require.Contains(t, up, "NO TRANSACTION")
				require.Contains(t, up, "IF NOT EXISTS", "it can be run again after a crash")
			}
		}
	}
}
