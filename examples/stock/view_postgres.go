//go:build postgres

package main

import (
	"context"
	"database/sql"
	"embed"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

//go:embed migrations/postgres/*.sql
var tables embed.FS

// The database that this service keeps its view in.
type (
	View     = postgres.View
	Snapshot = *postgres.Snapshot
	Handler  = postgres.Handler
)

const (
	tablesFolder     = "migrations/postgres"
	gooseDialect     = goose.DialectPostgres
	frameworkDialect = migrations.Postgres
)

func openDB(address string) (*sql.DB, error) { return postgres.OpenDB(address) }

func openView(ctx context.Context, client *waltz.Client, address string, o applier.Options, handlers ...Handler) (*View, error) {
	return postgres.Open(ctx, client, address, o, handlers...)
}

// quantityOf reads the view: for transaction contexts and for HTTP alike.
func quantityOf(ctx context.Context, view Snapshot, item int64) (quantity int64, err error) {
	err = view.QueryRow(ctx, `SELECT quantity FROM items WHERE item = $1`, item).Scan(&quantity)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return quantity, err
}

const (
	addToItem    = `INSERT INTO items (item, quantity) VALUES ($1, $2) ON CONFLICT (item) DO UPDATE SET quantity = items.quantity + excluded.quantity`
	takeFromItem = `UPDATE items SET quantity = quantity - $1 WHERE item = $2`
	insertOrder  = `INSERT INTO orders (partition_no, id, item, quantity, customer) VALUES ($1, $2, $3, $4, $5)`
)

// Queue does not wait for the answer: an error of the statement comes with a later
// call or after the return, and always before COMMIT.
func applyReceived(ctx context.Context, tx *postgres.Tx, r waltz.Record[Delivery]) error {
	return tx.Queue(ctx, addToItem, r.Value.Item, r.Value.Quantity)
}

func applyOrdered(ctx context.Context, tx *postgres.Tx, r waltz.Record[Order]) error {
	if err := tx.Queue(ctx, takeFromItem, r.Value.Quantity, r.Value.Item); err != nil {
		return err
	}
	return tx.Queue(ctx, insertOrder, int32(r.Partition), int64(r.ID), r.Value.Item, r.Value.Quantity, r.Value.Customer)
}
