package sqlite

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
)

func TestGuarantees(t *testing.T) {
	appliertest.Run(t, appliertest.Database[Tx, Snapshot]{
		New: newEmpty,
		Exec: func(ctx context.Context, tx Tx, query string, args ...any) error {
			_, err := tx.Exec(ctx, query, args...)
			return err
		},
		Count: func(ctx context.Context, tx Tx, query string, args ...any) (n int64, err error) {
			return n, tx.QueryRow(ctx, query, args...).Scan(&n)
		},
		Read: func(ctx context.Context, s Snapshot, query string, args ...any) (n int64, err error) {
			err = s.QueryRow(ctx, query, args...).Scan(&n)
			return n, err
		},
	})
}

func newEmpty(t *testing.T) appliertest.Empty[Tx, Snapshot] {
	path := filepath.Join(t.TempDir(), "view.db")
	require.NoError(t, migrate(t.Context(), path, applier.Options{}))
	db, err := OpenDB(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return appliertest.Empty[Tx, Snapshot]{
		Connect: func() (applier.Database[Tx, Snapshot], error) { return openDatabase(path) },
		Exec: func(query string, args ...any) error {
			_, err := db.Exec(query, args...)
			return err
		},
		Count: func(query string, args ...any) (n int64, err error) {
			err = db.QueryRow(query, args...).Scan(&n)
			return n, err
		},
	}
}
