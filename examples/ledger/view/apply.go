package view

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// Execer is what the tables are written through: the applier's transaction.
type Execer interface {
	Exec(ctx context.Context, query string, args ...any) (rows int64, err error)
}

const (
	insertEntry = `INSERT INTO entry (partition_no, id, kind, type, booked_on, amount_minor, from_account, to_account, allow_overdraft)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`

	insertPosting = `INSERT INTO posting (account_id, id, booked_on, amount_minor) VALUES (?, ?, ?, ?)`

	upsertAccount = `INSERT INTO account (account_id, partition_no, opened_on, closed_on, balance_minor, transactions)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (account_id) DO UPDATE SET
    opened_on     = min(opened_on, excluded.opened_on),
    closed_on     = coalesce(excluded.closed_on, closed_on),
    balance_minor = balance_minor + excluded.balance_minor,
    transactions  = transactions + excluded.transactions`

	upsertCrossing = `INSERT INTO crossing (origin_partition, origin_id, from_account, to_account, amount_minor, booked_on, type, sent, credited, refused, returned, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (origin_partition, origin_id) DO UPDATE SET
    sent     = max(sent, excluded.sent),
    credited = max(credited, excluded.credited),
    refused  = max(refused, excluded.refused),
    returned = max(returned, excluded.returned),
    reason   = max(reason, excluded.reason)`
)

// Apply writes a run of records of one partition into the tables.
func Apply(ctx context.Context, tx Execer, records []waltz.Record[ledger.Entry]) error {
	w := writer{ctx: ctx, tx: tx}
	for i := range records {
		r, e := &records[i].Committed, &records[i].Value
		w.exec(insertEntry, int64(r.Partition), int64(r.ID), string(e.Kind), e.Type, string(e.BookedOn), e.AmountMinor,
			int64(e.From), int64(e.To), flag(e.AllowOverdraft))
	}
	b := fold(records)
	for _, p := range b.postings {
		w.exec(insertPosting, int64(p.account), int64(p.id), string(p.bookedOn), p.amountMinor)
	}
	for _, a := range b.sortedAccounts() {
		w.exec(upsertAccount, int64(a.account), int64(a.partition), string(a.openedOn), orNull(a.closedOn), a.balanceMinor, a.transactions)
	}
	for _, c := range b.crossings {
		w.exec(upsertCrossing, int64(c.Partition), int64(c.ID), int64(c.From), int64(c.To), c.AmountMinor, string(c.BookedOn), c.Type,
			flag(c.Kind == ledger.KindOut), flag(c.Kind == ledger.KindIn), flag(c.Kind == ledger.KindRefused), flag(c.Kind == ledger.KindReturned), c.Reason)
	}
	if w.err != nil {
		return fmt.Errorf("apply %d entries: %w", len(records), w.err)
	}
	return nil
}

// writer stops at the first error.
type writer struct {
	ctx context.Context
	tx  Execer
	err error
}

func (w *writer) exec(query string, args ...any) {
	if w.err == nil {
		_, w.err = w.tx.Exec(w.ctx, query, args...)
	}
}

func flag(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

func orNull(d ledger.Date) any {
	if d == "" {
		return nil
	}
	return string(d)
}
