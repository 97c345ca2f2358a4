package migrations_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/waltz-log/waltz/migrations"
)

var dialects = []migrations.Dialect{migrations.SQLite, migrations.Postgres, migrations.MySQL}

// onAll runs a test on an empty database of each kind.
func onAll(t *testing.T, test func(t *testing.T, db *database)) {
	for _, d := range dialects {
		t.Run(string(d), func(t *testing.T) { test(t, newDatabase(t, d)) })
	}
}

// database is an empty one for a test.
type database struct {
	*sql.DB
	dialect migrations.Dialect
	url     string
}

func newDatabase(t *testing.T, d migrations.Dialect) *database {
	t.Helper()
	var address string
	switch d {
	case migrations.Postgres:
		address = servers.PostgreSQL(t).NewDatabase(t)
	case migrations.MySQL:
		address = servers.MariaDB(t).NewDatabase(t)
	default:
		address = "file:" + filepath.Join(t.TempDir(), "app.db") + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)"
	}
	return openDatabase(t, address)
}

func openDatabase(t *testing.T, address string) *database {
	t.Helper()
	c, d, err := connector(address)
	require.NoError(t, err)
	db := sql.OpenDB(c)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return &database{db, d, address}
}

func connector(address string) (driver.Connector, migrations.Dialect, error) {
	switch scheme, _, _ := strings.Cut(address, ":"); scheme {
	case "postgres":
		c, err := pgx.ParseConfig(address)
		if err != nil {
			return nil, "", err
		}
		return stdlib.GetConnector(*c), migrations.Postgres, nil
	case "mysql":
		u, err := url.Parse(address)
		if err != nil {
			return nil, "", err
		}
		c, err := mysql.ParseDSN(fmt.Sprintf("%s@tcp(%s)%s?%s", u.User, u.Host, u.Path, u.RawQuery))
		if err != nil {
			return nil, "", err
		}
		c.Logger = &mysql.NopLogger{}
		my, err := mysql.NewConnector(c)
		return my, migrations.MySQL, err
	default:
		c, err := sqlite.NewConnector(address)
		return c, migrations.SQLite, err
	}
}

// with returns the database by another address: with more parameters.
func (db *database) with(t *testing.T, parameters string) *database {
	t.Helper()
	separator := "?"
	if strings.Contains(db.url, "?") {
		separator = "&"
	}
	return openDatabase(t, db.url+separator+parameters)
}

func (db *database) migrator(t *testing.T) *migrations.Migrator {
	t.Helper()
	m, err := migrations.New(db.DB, db.dialect, migrations.Options{})
	require.NoError(t, err)
	return m
}

func (db *database) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := db.Exec(s)
		require.NoError(t, err, s)
	}
}

// column returns the values of a query's only column.
func (db *database) column(t *testing.T, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	require.NoError(t, err, query)
	defer rows.Close()
	values := []string{}
	for rows.Next() {
		var value string
		require.NoError(t, rows.Scan(&value))
		values = append(values, value)
	}
	require.NoError(t, rows.Err())
	return values
}

var listTables = map[migrations.Dialect]string{
	migrations.SQLite:   "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
	migrations.Postgres: "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
	migrations.MySQL:    "SELECT table_name FROM information_schema.tables WHERE table_schema = database() ORDER BY table_name",
}

func (db *database) tables(t *testing.T) []string {
	t.Helper()
	return db.column(t, listTables[db.dialect])
}

// empty drops all tables.
func (db *database) empty(t *testing.T) {
	t.Helper()
	for _, table := range db.tables(t) {
		db.exec(t, "DROP TABLE "+table)
	}
}

// recorded are the versions in the version table, in the order in which they were
// written.
func (db *database) recorded(t *testing.T) []string {
	t.Helper()
	return db.column(t, "SELECT version_id FROM waltz_schema_version ORDER BY id")
}

// all are the versions that a schema records that was made in one go.
func all(m *migrations.Migrator) []string {
	var out []string
	for v := range m.Known() + 1 {
		out = append(out, fmt.Sprint(v))
	}
	return out
}

// up demands that the schema is brought up to date.
func (db *database) up(t *testing.T) []migrations.Migration {
	t.Helper()
	done, err := db.migrator(t).Up(t.Context())
	require.NoError(t, err)
	require.NoError(t, db.migrator(t).Check(t.Context()))
	return done
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
