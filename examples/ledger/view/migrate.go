package view

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
)

// VersionTable is where the ledger's own migrations are noted. The framework notes
// its in another, so neither minds the other's numbers.
const VersionTable = "ledger_schema_version"

//go:embed migrations
var files embed.FS

const (
	migrateTries = 20
	migratePause = 100 * time.Millisecond
)

// migrate brings the ledger's tables up to date. It does not touch the framework's.
// Processes that start at once make the same tables: one of them fails in that, and
// finds on trying again that it is done. Everything is one SQL transaction, or may
// be run twice.
func (k *kind) migrate(ctx context.Context, db *sql.DB) (err error) {
	pause := time.NewTicker(migratePause)
	defer pause.Stop()
	for range migrateTries {
		if err = k.migrateOnce(ctx, db); err == nil {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
	return err
}

func (k *kind) migrateOnce(ctx context.Context, db *sql.DB) error {
	p, err := k.provider(db)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return wrap(err, "migrate the ledger's tables")
}

// hasPending reports whether migrate would do something.
func (k *kind) hasPending(ctx context.Context, db *sql.DB) (bool, error) {
	p, err := k.provider(db)
	if err != nil {
		return false, err
	}
	pending, err := p.HasPending(ctx)
	return pending, wrap(err, "read the state of the ledger's migrations")
}

func (k *kind) provider(db *sql.DB) (*goose.Provider, error) {
	mine, err := fs.Sub(files, "migrations/"+k.name)
	if err != nil {
		return nil, fmt.Errorf("open the ledger's migrations: %w", err)
	}
	p, err := goose.NewProvider(k.goose, db, mine, goose.WithTableName(VersionTable), goose.WithDisableGlobalRegistry(true))
	return p, wrap(err, "prepare the ledger's migrations")
}
