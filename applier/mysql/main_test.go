package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/internal/dbtest"
)

var servers dbtest.Servers

// TestMain is also the process that is killed: the test binary starts itself.
func TestMain(m *testing.M) {
	if url := os.Getenv("WALTZ_KILL_URL"); url != "" {
		os.Exit(victim(url))
	}
	os.Exit(servers.Run(m))
}

// patience bounds every wait for something that must happen.
const patience = 2 * time.Minute

// serverURL names the variable that adds a server to the suite, such as MySQL 8:
// the address of a database on it, with the right to create others.
const serverURL = "WALTZ_TEST_MYSQL_URL"

// The promises of every applier, on MariaDB.
func TestGuarantees(t *testing.T) {
	guarantees(t, func(t *testing.T) string { return servers.MariaDB(t).NewDatabase(t) })
}

// The same on another server, if one is named.
func TestGuaranteesOnNamedServer(t *testing.T) {
	if named := os.Getenv(serverURL); named != "" {
		guarantees(t, func(t *testing.T) string { return newDatabaseAt(t, named) })
	}
}

// newDatabaseAt makes a database on a server that is not the tests' own.
func newDatabaseAt(t *testing.T, server string) string {
	db, err := OpenDB(server)
	require.NoError(t, err)
	name := fmt.Sprintf("waltz_test_%d", time.Now().UnixNano())
	_, err = db.Exec("CREATE DATABASE " + name + " CHARACTER SET utf8mb4")
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.Exec("DROP DATABASE " + name)
		require.NoError(t, err)
		require.NoError(t, db.Close())
	})
	u, err := url.Parse(server)
	require.NoError(t, err)
	u.Path = "/" + name
	return u.String()
}

func guarantees(t *testing.T, newURL func(*testing.T) string) {
	appliertest.Run(t, appliertest.Database[*Tx, *Snapshot]{
		New: func(t *testing.T) appliertest.Empty[*Tx, *Snapshot] { return newEmpty(t, newURL(t)) },
		Exec: func(ctx context.Context, tx *Tx, query string, args ...any) error {
			_, err := tx.Exec(ctx, query, args...)
			return err
		},
		Count: func(ctx context.Context, tx *Tx, query string, args ...any) (n int64, err error) {
			return n, tx.QueryRow(ctx, query, args...).Scan(&n)
		},
		Read: func(ctx context.Context, s *Snapshot, query string, args ...any) (n int64, err error) {
			err = s.QueryRow(ctx, query, args...).Scan(&n)
			return n, err
		},
	})
}

// partitionWord is reserved here: the suite's SQL has it as a column.
var partitionWord = regexp.MustCompile(`\bpartition\b`)

func newEmpty(t *testing.T, url string) appliertest.Empty[*Tx, *Snapshot] {
	db := migrated(t, url)
	word := func(query string) string { return partitionWord.ReplaceAllString(query, "`partition`") }
	return appliertest.Empty[*Tx, *Snapshot]{
		Connect: func() (applier.Database[*Tx, *Snapshot], error) {
			return open(context.Background(), url, applier.Options{})
		},
		Exec: func(query string, args ...any) error {
			_, err := db.Exec(word(query), args...)
			return err
		},
		Count: func(query string, args ...any) (n int64, err error) {
			err = db.QueryRow(word(query), args...).Scan(&n)
			return n, err
		},
	}
}

// migrated brings a database up to date, and returns a pool on it.
func migrated(t testing.TB, url string) *sql.DB {
	t.Helper()
	a, err := parse(url)
	require.NoError(t, err)
	require.NoError(t, a.migrate(t.Context(), applier.Options{}))
	db, err := OpenDB(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// open opens a database as an applier does.
func open(ctx context.Context, url string, o applier.Options) (*database, error) {
	a, err := parse(url)
	if err != nil {
		return nil, err
	}
	return a.database(ctx, o)
}
