package view

import (
	"context"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// Books are the ledger's questions, asked of one snapshot.
type Books struct{ s Snapshot }

// NewBooks returns the books as a snapshot shows them.
func NewBooks(s Snapshot) Books { return Books{s} }

var _ ledger.Books = Books{}

// Standing implements ledger.Books.
func (b Books) Standing(ctx context.Context, a ledger.Account) (s ledger.Standing, err error) {
	err = each(ctx, b.s.Querier, func(rows Rows) error {
		s.Known = true
		return rows.Scan(&s.Closed, &s.BalanceMinor)
	}, `SELECT closed_on IS NOT NULL, balance_minor FROM account WHERE account_id = ?`, int64(a))
	return s, wrap(err, "read account %d", a)
}

// Parties implements ledger.Books.
func (b Books) Parties(ctx context.Context, from, to ledger.Account) (sender, receiver ledger.Standing, err error) {
	err = each(ctx, b.s.Querier, func(rows Rows) error {
		var a ledger.Account
		s := ledger.Standing{Known: true}
		err := rows.Scan(&a, &s.Closed, &s.BalanceMinor)
		if a == from {
			sender = s
		}
		if a == to {
			receiver = s
		}
		return err
	}, `SELECT account_id, closed_on IS NOT NULL, balance_minor FROM account WHERE account_id IN (?, ?)`, int64(from), int64(to))
	return sender, receiver, wrap(err, "read accounts %d and %d", from, to)
}

const (
	selectCrossing = `SELECT origin_partition, origin_id, from_account, to_account, amount_minor, booked_on, type,
    ` + crossingStatus + `, reason
FROM crossing c WHERE `
	crossingStatus = `CASE WHEN c.credited = 1 THEN 'credited' WHEN c.returned = 1 THEN 'returned' WHEN c.refused = 1 THEN 'refused' ELSE 'pending' END`
	isPending      = `sent = 1 AND credited = 0 AND returned = 0`
)

// Crossing implements ledger.Books.
func (b Books) Crossing(ctx context.Context, o ledger.Origin) (c ledger.Crossing, found bool, err error) {
	all, err := b.crossings(ctx, selectCrossing+`sent = 1 AND origin_partition = ? AND origin_id = ?`, int64(o.Partition), int64(o.ID))
	if err != nil || len(all) == 0 {
		return c, false, wrap(err, "read transfer %s", o)
	}
	return all[0], true, nil
}

// Pending implements ledger.Books.
func (b Books) Pending(ctx context.Context, p waltz.Partition, above waltz.ID, limit int) ([]ledger.Crossing, error) {
	all, err := b.crossings(ctx, selectCrossing+isPending+` AND origin_partition = ? AND origin_id > ? ORDER BY origin_id LIMIT ?`, int64(p), int64(above), limit)
	return all, wrap(err, "read pending transfers of partition %d", p)
}

// PendingFrom implements ledger.Books.
func (b Books) PendingFrom(ctx context.Context, a ledger.Account) (is bool, err error) {
	err = each(ctx, b.s.Querier, func(rows Rows) error { return rows.Scan(&is) },
		`SELECT EXISTS (SELECT 1 FROM account a JOIN crossing ON origin_partition = a.partition_no AND `+isPending+`
WHERE a.account_id = ? AND from_account = a.account_id)`, int64(a))
	return is, wrap(err, "read pending transfers of account %d", a)
}

func (b Books) crossings(ctx context.Context, query string, args ...any) (all []ledger.Crossing, err error) {
	err = each(ctx, b.s.Querier, func(rows Rows) error {
		var c ledger.Crossing
		all = append(all, c)
		to := &all[len(all)-1]
		return rows.Scan(&to.Partition, &to.ID, &to.From, &to.To, &to.AmountMinor, &to.BookedOn, &to.Type, &to.Status, &to.Reason)
	}, query, args...)
	return all, err
}
