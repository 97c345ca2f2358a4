package view

import (
	"context"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// Account is an account as the view has it.
type Account struct {
	OpenedOn     ledger.Date
	ClosedOn     ledger.Date // "": it is open
	BalanceMinor int64
	Transactions int64
}

// FindAccount reads an account; known is false if there is none.
func FindAccount(ctx context.Context, q Querier, number ledger.Account) (a Account, known bool, err error) {
	err = each(ctx, q, func(rows Rows) error {
		known = true
		return rows.Scan(&a.OpenedOn, &a.ClosedOn, &a.BalanceMinor, &a.Transactions)
	}, `SELECT opened_on, coalesce(closed_on, ''), balance_minor, transactions FROM account WHERE account_id = ?`, int64(number))
	return a, known, wrap(err, "read account %d", number)
}

// Booked is a transaction of the log, with what became of it if it is a transfer that
// left for another partition.
type Booked struct {
	Kind        ledger.Kind
	From, To    ledger.Account
	AmountMinor int64
	Type        string
	BookedOn    ledger.Date
	Status      ledger.Status
	Reason      string
}

// FindBooked reads a transaction; found is false if the view does not show it.
func FindBooked(ctx context.Context, q Querier, p waltz.Partition, id waltz.ID) (b Booked, found bool, err error) {
	err = each(ctx, q, func(rows Rows) error {
		found = true
		return rows.Scan(&b.Kind, &b.From, &b.To, &b.AmountMinor, &b.Type, &b.BookedOn, &b.Status, &b.Reason)
	}, `SELECT e.kind, e.from_account, e.to_account, e.amount_minor, e.type, e.booked_on,
    CASE WHEN c.sent IS NULL THEN '' ELSE `+crossingStatus+` END, coalesce(c.reason, '')
FROM entry e
LEFT JOIN crossing c ON e.kind = 'TRANSFER_OUT' AND c.origin_partition = e.partition_no AND c.origin_id = e.id
WHERE e.partition_no = ? AND e.id = ?`, int64(p), int64(id))
	return b, found, wrap(err, "read transaction %d of partition %d", id, p)
}
