package postgres_test

import (
	"context"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/waltz"
)

type transfer struct {
	Account int64
	Amount  int64
}

var transfers = waltz.Kind[transfer]{Header: 1, Name: "transfer", Codec: waltz.JSON[transfer]()}

// A handler for single records queues, and waits for nothing.
func ExampleTx_Queue() {
	_ = applier.On(transfers, func(ctx context.Context, tx *postgres.Tx, r waltz.Record[transfer]) error {
		if err := tx.Queue(ctx, "INSERT INTO entries VALUES ($1, $2, $3, $4)", int(r.Partition), int64(r.ID), r.Value.Account, r.Value.Amount); err != nil {
			return err
		}
		return tx.Queue(ctx, "UPDATE balances SET balance = balance + $1 WHERE account = $2", r.Value.Amount, r.Value.Account)
	})
}

// A handler for batches writes each table with one statement.
func ExampleFold() {
	type balance struct{ Account, Amount int64 }
	_ = applier.OnBatch(transfers, func(ctx context.Context, tx *postgres.Tx, rs []waltz.Record[transfer]) error {
		balances := make([]balance, len(rs))
		for i, r := range rs {
			balances[i] = balance{r.Value.Account, r.Value.Amount}
		}
		balances = postgres.Fold(balances, func(b *balance) int64 { return b.Account }, func(total, b *balance) { total.Amount += b.Amount })
		return tx.Queue(ctx, `
			INSERT INTO balances (account, balance) SELECT * FROM unnest($1::bigint[], $2::bigint[])
			ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance`, postgres.Arrays(balances)...)
	})
}
