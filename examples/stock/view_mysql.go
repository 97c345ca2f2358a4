//go:build mysql

package main

import (
	"context"
	"database/sql"
	"embed"
	"errors"

	"github.com/pressly/goose/v3"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

//go:embed migrations/mysql/*.sql
var tables embed.FS

// The database that this service keeps its view in: MariaDB or MySQL.
type (
	View     = mysql.View
	Snapshot = *mysql.Snapshot
	Handler  = mysql.Handler
)

const (
	tablesFolder     = "migrations/mysql"
	gooseDialect     = goose.DialectMySQL
	frameworkDialect = migrations.MySQL
)

func openDB(address string) (*sql.DB, error) { return mysql.OpenDB(address) }

func openView(ctx context.Context, client *waltz.Client, address string, o applier.Options, handlers ...Handler) (*View, error) {
	return mysql.Open(ctx, client, address, o, handlers...)
}

// quantityOf reads the view: for transaction contexts and for HTTP alike.
func quantityOf(ctx context.Context, view Snapshot, item int64) (quantity int64, err error) {
	err = view.QueryRow(ctx, `SELECT quantity FROM items WHERE item = ?`, item).Scan(&quantity)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return quantity, err
}

const (
	addToItem    = `INSERT INTO items (item, quantity) VALUES (?, ?) ON DUPLICATE KEY UPDATE quantity = quantity + VALUES(quantity)`
	takeFromItem = `UPDATE items SET quantity = quantity - ? WHERE item = ?`
	insertOrder  = `INSERT INTO orders (partition_no, id, item, quantity, customer) VALUES (?, ?, ?, ?, ?)`
)

func applyReceived(ctx context.Context, tx *mysql.Tx, r waltz.Record[Delivery]) error {
	_, err := tx.Exec(ctx, addToItem, r.Value.Item, r.Value.Quantity)
	return err
}

func applyOrdered(ctx context.Context, tx *mysql.Tx, r waltz.Record[Order]) error {
	if _, err := tx.Exec(ctx, takeFromItem, r.Value.Quantity, r.Value.Item); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, insertOrder, int64(r.Partition), int64(r.ID), r.Value.Item, r.Value.Quantity, r.Value.Customer)
	return err
}
