package view

import (
	"context"
	"math"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// Balance is an account's, with how many transactions came to it.
type Balance struct {
	Account      ledger.Account
	Transactions int64
	BalanceMinor int64
}

// Balances calls f for each customer's account in order of the number.
func Balances(ctx context.Context, q Querier, f func(Balance) error) error {
	return wrap(balances(ctx, q, f, `SELECT account_id, transactions, balance_minor FROM account WHERE account_id > 0 ORDER BY account_id`), "read balances")
}

// BalancesAsOf is Balances by what was booked until the end of a day. Accounts
// without anything by then are left out.
func BalancesAsOf(ctx context.Context, q Querier, d ledger.Date, f func(Balance) error) error {
	return wrap(balances(ctx, q, f, `SELECT account_id, count(*), sum(amount_minor) FROM posting
WHERE account_id > 0 AND booked_on <= ? GROUP BY account_id ORDER BY account_id`, string(d)), "read balances as of %s", d)
}

func balances(ctx context.Context, q Querier, f func(Balance) error, query string, args ...any) error {
	return each(ctx, q, func(rows Rows) error {
		var b Balance
		if err := rows.Scan(&b.Account, &b.Transactions, &b.BalanceMinor); err != nil {
			return err
		}
		return f(b)
	}, query, args...)
}

// Line is one line of an account's statement.
type Line struct {
	ID           waltz.ID
	BookedOn     ledger.Date
	Kind         ledger.Kind
	Type         string
	Counterparty ledger.Account
	AmountMinor  int64  // credit above 0, debit below
	BalanceMinor int64  // after it
	Status       string // of a transfer that left for another partition
}

// Page is a part of a statement: at most so many lines after a transaction, at which
// the balance was this.
type Page struct {
	After        waltz.ID
	BalanceMinor int64
	Lines        int
}

// WholeStatement is the page that has every line.
func WholeStatement() Page { return Page{After: waltz.None, Lines: math.MaxInt32} }

// Statement calls f for each posting of an account that is on a page, in the order
// of the log.
func Statement(ctx context.Context, q Querier, a ledger.Account, p Page, f func(Line) error) error {
	balance := p.BalanceMinor
	return wrap(each(ctx, q, func(rows Rows) error {
		var l Line
		if err := rows.Scan(&l.ID, &l.BookedOn, &l.Kind, &l.Type, &l.Counterparty, &l.AmountMinor, &l.Status); err != nil {
			return err
		}
		balance += l.AmountMinor
		l.BalanceMinor = balance
		return f(l)
	}, `SELECT p.id, p.booked_on, e.kind, e.type,
    CASE WHEN e.from_account = p.account_id THEN e.to_account ELSE e.from_account END, p.amount_minor,
    CASE WHEN c.sent IS NULL THEN '' ELSE `+crossingStatus+` END
FROM account a
JOIN posting p ON p.account_id = a.account_id
JOIN entry e ON e.partition_no = a.partition_no AND e.id = p.id
LEFT JOIN crossing c ON e.kind = 'TRANSFER_OUT' AND c.origin_partition = e.partition_no AND c.origin_id = e.id
WHERE a.account_id = ? AND p.id > ? ORDER BY p.id LIMIT ?`, int64(a), int64(p.After), p.Lines), "read statement of account %d", a)
}
