package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/waltz-log/waltz/migrations"
)

// migrate makes and updates all tables: first the framework's, then ours.
func migrate(ctx context.Context, address string) error {
	db, err := openDB(address)
	if err != nil {
		return err
	}
	defer db.Close()
	framework, err := migrations.New(db, frameworkDialect, migrations.Options{})
	if err != nil {
		return err
	}
	if _, err := framework.Up(ctx); err != nil {
		return fmt.Errorf("migrate the framework's tables: %w", err)
	}
	ours, err := ourTables(db)
	if err != nil {
		return err
	}
	if _, err := ours.Up(ctx); err != nil {
		return fmt.Errorf("migrate the stock's tables: %w", err)
	}
	return nil
}

// ourTables are the service's own migrations. Their versions are noted in a table of
// their own, so they may start at 1 as the framework's do.
func ourTables(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(tables, tablesFolder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(gooseDialect, db, files, goose.WithTableName("stock_schema_version"))
}

// checkTables refuses to serve on tables of another version. The applier checks the
// framework's.
func checkTables(ctx context.Context, address string) error {
	db, err := openDB(address)
	if err != nil {
		return err
	}
	defer db.Close()
	ours, err := ourTables(db)
	if err != nil {
		return err
	}
	pending, err := ours.HasPending(ctx)
	if err == nil && pending {
		err = errors.New("the stock's tables are not up to date: run with -migrate first")
	}
	return err
}
