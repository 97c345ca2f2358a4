package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier/sqlite"
)

// Many that open a new file at once all get in: each connection of a pool is one
// that SQLite can't tell from another process's.
func TestFileOpenedByManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range 60 {
		errs := make(chan error, 4)
		var wg sync.WaitGroup
		for range cap(errs) {
			wg.Go(func() { errs <- createTable(t.Context(), filepath.Join(dir, fmt.Sprint(i, ".db"))) })
		}
		wg.Wait()
		for range cap(errs) {
			require.NoError(t, <-errs)
		}
	}
}

func createTable(ctx context.Context, file string) error {
	db, err := sqlite.OpenDB(file)
	if err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS a (b INTEGER) STRICT"); err != nil {
		return err
	}
	return db.Close()
}
