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
	PendingMinor int64 // of what has been sent, less what has arrived or come back: the same
}

// ReadSums adds up the tables. It does so here, account by account: in between, the sum of
// all can be more than a database's whole number holds.
func ReadSums(ctx context.Context, q Querier) (s Sums, err error) {
	err = each(ctx, q, func(rows Rows) error {
		var a ledger.Account
		var balance int64
		if err := rows.Scan(&a, &balance); err != nil {
			return err
		}
		s.AllMinor += balance
		if a.IsTransit() {
			s.TransitMinor += balance
		}
		return nil
	}, `SELECT account_id, balance_minor FROM account`)
	if err == nil {
		err = addUp(ctx, q, &s.PostedMinor, `SELECT sum(amount_minor) FROM posting GROUP BY account_id`)
	}
	if err == nil {
		// Partitions are applied on their own: one may show an arrival before the other
		// shows what was sent.
		err = addUp(ctx, q, &s.PendingMinor, `SELECT amount_minor * (sent - credited - returned) FROM crossing WHERE sent <> credited + returned`)
	}
	return s, wrap(err, "add up the books")
}

func addUp(ctx context.Context, q Querier, to *int64, query string) error {
	return each(ctx, q, func(rows Rows) error {
		var n int64
		err := rows.Scan(&n)
		*to += n
		return err
	}, query)
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
