//go:build postgres

package main

import (
	"context"

	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/waltz"
)

type orderRow struct {
	Partition          int32
	ID, Item, Quantity int64
	Customer           string
}

type soldRow struct{ Item, Quantity int64 }

// Two statements, however many orders: rows travel as arrays.
func applyOrders(ctx context.Context, tx *postgres.Tx, rs []waltz.Record[Order]) error {
	orders, sold := make([]orderRow, len(rs)), make([]soldRow, len(rs))
	for i, r := range rs {
		o := r.Value
		orders[i] = orderRow{int32(r.Partition), int64(r.ID), o.Item, o.Quantity, o.Customer}
		sold[i] = soldRow{o.Item, o.Quantity}
	}
	err := tx.Queue(ctx, `INSERT INTO orders (partition_no, id, item, quantity, customer)
		SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])`,
		postgres.Arrays(orders)...)
	if err != nil {
		return err
	}
	sold = postgres.Fold(sold, func(s *soldRow) int64 { return s.Item },
		func(total, s *soldRow) { total.Quantity += s.Quantity })
	return tx.Queue(ctx, `UPDATE items SET quantity = items.quantity - sold.quantity
		FROM unnest($1::bigint[], $2::bigint[]) AS sold (item, quantity) WHERE items.item = sold.item`,
		postgres.Arrays(sold)...)
}
