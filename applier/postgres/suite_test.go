package postgres

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/internal/dbtest"
)

func TestGuarantees(t *testing.T) {
	run(t, func(t *testing.T) string { return servers.PostgreSQL(t).NewDatabase(t) })
}

// D7: the same through a pooler that gives a connection to another server process for each
// transaction.
func TestGuaranteesBehindPgBouncer(t *testing.T) {
	pg := servers.PostgreSQL(t)
	bouncer := dbtest.PgBouncer(t, pg, "transaction")
	run(t, func(t *testing.T) string { return through(t, pg.NewDatabase(t), bouncer.Addr()) })
}

// run sends statements with Queue, so that all errors come late.
func run(t *testing.T, address func(t *testing.T) string) {
	appliertest.Run(t, appliertest.Database[*Tx, *Snapshot]{
		Late: true,
		New:  func(t *testing.T) appliertest.Empty[*Tx, *Snapshot] { return newEmpty(t, address(t)) },
		Exec: func(ctx context.Context, tx *Tx, query string, args ...any) error {
			return tx.Queue(ctx, numbered(query), args...)
		},
		Count: func(ctx context.Context, tx *Tx, query string, args ...any) (n int64, err error) {
			return n, tx.QueryRow(ctx, numbered(query), args...).Scan(&n)
		},
		Read: func(ctx context.Context, s *Snapshot, query string, args ...any) (n int64, err error) {
			err = s.QueryRow(ctx, numbered(query), args...).Scan(&n)
			return n, err
		},
	})
}

func newEmpty(t *testing.T, address string) appliertest.Empty[*Tx, *Snapshot] {
	t.Helper()
	require.NoError(t, migrate(t.Context(), address, applier.Options{}))
	db, err := OpenDB(address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return appliertest.Empty[*Tx, *Snapshot]{
		Connect: func() (applier.Database[*Tx, *Snapshot], error) {
			return openDatabase(context.Background(), address, "bank")
		},
		Exec: func(query string, args ...any) error {
			_, err := db.Exec(numbered(query), args...)
			return err
		},
		Count: func(query string, args ...any) (n int64, err error) {
			err = db.QueryRow(numbered(query), args...).Scan(&n)
			return n, err
		},
	}
}

// numbered writes ? as PostgreSQL does.
func numbered(query string) string {
	var b strings.Builder
	n := 0
	for _, c := range query {
		if c != '?' {
			b.WriteRune(c)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// through is an address by way of another host and port.
func through(t *testing.T, address, by string) string {
	t.Helper()
	before, rest, found := strings.Cut(address, "@")
	_, path, slash := strings.Cut(rest, "/")
	require.True(t, found && slash)
	return before + "@" + by + "/" + path
}
