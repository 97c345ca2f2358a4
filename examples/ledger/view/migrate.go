package view

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// VersionTable is where the ledger's own migrations are noted. The framework notes
// its in another, so neither minds the other's numbers.
const VersionTable = "ledger_schema_version"

//go:embed migrations
var migrations embed.FS

// Migrate brings the ledger's tables in a SQLite database up to date. It does not
// touch the framework's.
func Migrate(ctx context.Context, db *sql.DB) error {
	p, err := provider(db)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the ledger's tables: %w", err)
	}
	return nil
}

// HasPending reports whether Migrate would do something.
func HasPending(ctx context.Context, db *sql.DB) (bool, error) {
	p, err := provider(db)
	if err != nil {
		return false, err
	}
	pending, err := p.HasPending(ctx)
	return pending, wrap(err, "read the state of the ledger's migrations")
}

func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return nil, fmt.Errorf("open the ledger's migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithTableName(VersionTable), goose.WithDisableGlobalRegistry(true))
	return p, wrap(err, "prepare the ledger's migrations")
}
