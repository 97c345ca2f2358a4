package view

import (
	"context"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
)

// Sums are what the books come to, of all partitions together.
type Sums struct {
	AllMinor     int64 // of all accounts' balances: 0 in good books
	PostedMinor  int64 // of all postings: 0 in good books
	TransitMinor int64 // of the transit accounts' balances
	PendingMinor int64 // of the pending transfers: the same
}

// ReadSums adds up the tables.
func ReadSums(ctx context.Context, q Querier) (s Sums, err error) {
	err = each(ctx, q, func(rows Rows) error {
		return rows.Scan(&s.AllMinor, &s.PostedMinor, &s.TransitMinor, &s.PendingMinor)
	}, `SELECT
    (SELECT coalesce(sum(balance_minor), 0) FROM account),
    (SELECT coalesce(sum(amount_minor), 0) FROM posting),
    (SELECT coalesce(sum(balance_minor), 0) FROM account WHERE account_id < 0 AND account_id % 2 = 0),
    (SELECT coalesce(sum(amount_minor), 0) FROM crossing WHERE `+isPending+`)`)
	return s, wrap(err, "add up the books")
}

// HighestAccount returns the highest number of a customer's account, or 0.
func HighestAccount(ctx context.Context, q Querier) (a ledger.Account, err error) {
	err = each(ctx, q, func(rows Rows) error { return rows.Scan(&a) },
		`SELECT coalesce(max(account_id), 0) FROM account WHERE account_id > 0`)
	return a, wrap(err, "find the highest account")
}

// CountReturned returns how many transfers across partitions were refused and came back.
func CountReturned(ctx context.Context, q Querier) (n int64, err error) {
	err = each(ctx, q, func(rows Rows) error { return rows.Scan(&n) }, `SELECT count(*) FROM crossing WHERE returned = 1`)
	return n, wrap(err, "count returned transfers")
}
