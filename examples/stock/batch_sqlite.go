//go:build !postgres && !mysql

package main

import (
	"context"

	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/waltz"
)

// SQLite runs in this process, so a statement costs little: what helps is to
// change a row once that many transactions change.
func applyOrders(ctx context.Context, tx sqlite.Tx, rs []waltz.Record[Order]) error {
	sold := map[int64]int64{}
	for _, r := range rs {
		o := r.Value
		sold[o.Item] += o.Quantity
		if _, err := tx.Exec(ctx, insertOrder, int64(r.Partition), int64(r.ID), o.Item, o.Quantity, o.Customer); err != nil {
			return err
		}
	}
	for item, quantity := range sold {
		if _, err := tx.Exec(ctx, takeFromItem, quantity, item); err != nil {
			return err
		}
	}
	return nil
}
