package view

import (
	"context"
	"database/sql"
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
	err = each(ctx, q, func(rows *sql.Rows) error {
		return rows.Scan(&s.AllMinor, &s.PostedMinor, &s.TransitMinor, &s.PendingMinor)
	}, `SELECT
    (SELECT coalesce(sum(balance_minor), 0) FROM account),
    (SELECT coalesce(sum(amount_minor), 0) FROM posting),
    (SELECT coalesce(sum(balance_minor), 0) FROM account WHERE account_id < 0 AND account_id % 2 = 0),
    (SELECT coalesce(sum(amount_minor), 0) FROM crossing WHERE `+isPending+`)`)
	return s, wrap(err, "add up the books")
}
