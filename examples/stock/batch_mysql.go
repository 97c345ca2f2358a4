//go:build mysql

package main

import (
	"context"

	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/waltz"
)

// Sets write as few statements as the server takes, sorted by key and folded.
func applyOrders(ctx context.Context, tx *mysql.Tx, rs []waltz.Record[Order]) error {
	orders := mysql.Insert{Table: "orders", Columns: []string{"partition_no", "id", "item", "quantity", "customer"}}.For(tx)
	sold := mysql.Update{Table: "items", Key: []string{"item"}, Add: []string{"quantity"}}.For(tx)
	for _, r := range rs {
		o := r.Value
		orders.Add(int64(r.Partition), int64(r.ID), o.Item, o.Quantity, o.Customer)
		sold.Add(o.Item, -o.Quantity)
	}
	if err := orders.Exec(ctx); err != nil {
		return err
	}
	return sold.Exec(ctx)
}
