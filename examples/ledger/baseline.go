package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// measureBaseline puts the load on a table of PostgreSQL: what a service without a log
// would do.
func measureBaseline(ctx context.Context, f loadFlags) (*tally, error) {
	config, err := pgxpool.ParseConfig(f.baseline)
	if err != nil {
		return nil, usagef("--baseline: %w", err)
	}
	config.MaxConns = int32(f.connections) //nolint:gosec // at most 10,000
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	if err := baselineTable(ctx, pool, f); err != nil {
		return nil, err
	}
	t, err := closedLoop(ctx, f, func(ctx context.Context, d draw) (bool, int64, error) { return baselineTransfer(ctx, pool, d) })
	if _, dropErr := pool.Exec(ctx, `DROP TABLE ledger_baseline`); err == nil {
		err = dropErr
	}
	return t, err
}

func baselineTable(ctx context.Context, pool *pgxpool.Pool, f loadFlags) error {
	if _, err := pool.Exec(ctx, `DROP TABLE IF EXISTS ledger_baseline`); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, `CREATE TABLE ledger_baseline (account_id bigint PRIMARY KEY, balance_minor bigint NOT NULL)`); err != nil {
		return err
	}
	_, err := pool.Exec(ctx, `INSERT INTO ledger_baseline SELECT $1::bigint + n, $3 FROM generate_series(0, $2::bigint - 1) n`, f.first, f.accounts, loadDeposit)
	return err
}

// baselineTransfer reads a balance, changes two and commits, as often as it takes.
func baselineTransfer(ctx context.Context, pool *pgxpool.Pool, d draw) (declined bool, again int64, err error) {
	for {
		err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
			declined, err = baselineStatements(ctx, tx, d)
			return err
		})
		refused, is := errors.AsType[*pgconn.PgError](err)
		if !is || refused.Code != "40001" && refused.Code != "40P01" {
			return declined, again, err
		}
		again++
	}
}

func baselineStatements(ctx context.Context, tx pgx.Tx, d draw) (declined bool, err error) {
	var balance int64
	if err := tx.QueryRow(ctx, `SELECT balance_minor FROM ledger_baseline WHERE account_id = $1`, d.from).Scan(&balance); err != nil {
		return false, fmt.Errorf("read account %d: %w", d.from, err)
	}
	if balance < d.amount {
		return true, nil
	}
	if _, err := tx.Exec(ctx, `UPDATE ledger_baseline SET balance_minor = balance_minor - $2 WHERE account_id = $1`, d.from, d.amount); err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `UPDATE ledger_baseline SET balance_minor = balance_minor + $2 WHERE account_id = $1`, d.to, d.amount)
	return false, err
}
