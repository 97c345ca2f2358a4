package view

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

func postgresKind() *kind {
	return &kind{
		name: "postgres", framework: migrations.Postgres, goose: goose.DialectPostgres,
		form: "postgres://user:password@host:port/database", isURL: postgres.IsURL,
		check:   func(address string) error { return openable(postgres.OpenDB(address)) },
		prepare: func(string) error { return nil },
		openDB:  postgres.OpenDB, openReader: postgres.OpenDB, open: openPostgres, asks: func(db asker) Querier { return numbered(plain(db)) },
		isolation: sql.LevelRepeatableRead, missing: missingPostgres,
	}
}

// missingPostgres knows undefined_table, undefined_column and invalid_schema_name.
func missingPostgres(err error) bool {
	e, is := errors.AsType[*pgconn.PgError](err)
	return is && slices.Contains([]string{"42P01", "42703", "3F000"}, e.Code)
}

// openable is whether a pool could be opened, which does not connect yet.
func openable(db *sql.DB, err error) error {
	if err == nil {
		err = db.Close()
	}
	return err
}

func openPostgres(ctx context.Context, k *kind, log applier.Log, address string, db *sql.DB, o applier.Options) (View, error) {
	v, err := postgres.OpenLog(ctx, log, address, o, handlers(writePostgres)...)
	if err != nil {
		return nil, err
	}
	return native[*postgres.Tx, *postgres.Snapshot]{v, k, db, askPostgres}, nil
}

func askPostgres(s *postgres.Snapshot) Querier {
	return numbered(func(ctx context.Context, query string, args ...any) (Rows, error) {
		rows, err := s.Query(ctx, query, args...)
		if err != nil {
			return nil, err
		}
		return pgRows{rows}, nil
	})
}

// numbered writes arguments as PostgreSQL has them: $1, $2.
func numbered(q Querier) Querier {
	return func(ctx context.Context, query string, args ...any) (Rows, error) {
		var text strings.Builder
		parts := strings.Split(query, "?")
		for i, part := range parts {
			if i > 0 {
				text.WriteString("$" + strconv.Itoa(i))
			}
			text.WriteString(part)
		}
		return q(ctx, text.String(), args...)
	}
}

type pgRows struct{ pgx.Rows }

// Columns implements Rows.
func (r pgRows) Columns() (names []string) {
	for _, f := range r.FieldDescriptions() {
		names = append(names, f.Name)
	}
	return names
}

// Close implements Rows.
func (r pgRows) Close() error {
	r.Rows.Close()
	return r.Err()
}

const (
	pgEntry = `INSERT INTO entry (partition_no, id, kind, type, booked_on, amount_minor, from_account, to_account, allow_overdraft)
SELECT $1::integer, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::smallint[])`

	pgPosting = `INSERT INTO posting (account_id, id, booked_on, amount_minor)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])`

	pgAccount = `INSERT INTO account AS a (account_id, partition_no, opened_on, closed_on, balance_minor, transactions)
SELECT n, $1::integer, o, nullif(c, ''), b, t FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[]) AS u (n, o, c, b, t)
ON CONFLICT (account_id) DO UPDATE SET
    opened_on     = least(a.opened_on, excluded.opened_on),
    closed_on     = coalesce(excluded.closed_on, a.closed_on),
    balance_minor = a.balance_minor + excluded.balance_minor,
    transactions  = a.transactions + excluded.transactions`

	pgCrossing = `INSERT INTO crossing AS c (origin_partition, origin_id, from_account, to_account, amount_minor, booked_on, type, sent, credited, refused, returned, reason)
SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
    $8::smallint[], $9::smallint[], $10::smallint[], $11::smallint[], $12::text[])
ON CONFLICT (origin_partition, origin_id) DO UPDATE SET
    sent     = greatest(c.sent, excluded.sent),
    credited = greatest(c.credited, excluded.credited),
    refused  = greatest(c.refused, excluded.refused),
    returned = greatest(c.returned, excluded.returned),
    reason   = greatest(c.reason, excluded.reason)`
)

// writePostgres sends one statement for each table, with its rows as arrays, so that
// its text is always the same and prepared once. None is waited for.
func writePostgres(ctx context.Context, tx *postgres.Tx, records []waltz.Record[ledger.Entry], b *batch) error {
	if err := queueEntries(ctx, tx, records); err != nil {
		return err
	}
	if err := queuePostings(ctx, tx, b.postings); err != nil {
		return err
	}
	if err := queueAccounts(ctx, tx, records[0].Partition, b.sortedAccounts()); err != nil {
		return err
	}
	return queueCrossings(ctx, tx, b.sortedCrossings())
}

func queueEntries(ctx context.Context, tx *postgres.Tx, records []waltz.Record[ledger.Entry]) error {
	n := len(records)
	ids, kinds, types, days := make([]int64, n), make([]string, n), make([]string, n), make([]string, n)
	amounts, from, to, overdraft := make([]int64, n), make([]int64, n), make([]int64, n), make([]int16, n)
	for i := range records {
		e := &records[i].Value
		ids[i], kinds[i], types[i], days[i] = int64(records[i].ID), string(e.Kind), e.Type, string(e.BookedOn)
		amounts[i], from[i], to[i], overdraft[i] = e.AmountMinor, int64(e.From), int64(e.To), int16(flag(e.AllowOverdraft))
	}
	return tx.Queue(ctx, pgEntry, int32(records[0].Partition), ids, kinds, types, days, amounts, from, to, overdraft)
}

func queuePostings(ctx context.Context, tx *postgres.Tx, rows []postingRow) error {
	n := len(rows)
	if n == 0 {
		return nil
	}
	accounts, ids, days, amounts := make([]int64, n), make([]int64, n), make([]string, n), make([]int64, n)
	for i, p := range rows {
		accounts[i], ids[i], days[i], amounts[i] = int64(p.account), int64(p.id), string(p.bookedOn), p.amountMinor
	}
	return tx.Queue(ctx, pgPosting, accounts, ids, days, amounts)
}

func queueAccounts(ctx context.Context, tx *postgres.Tx, p waltz.Partition, rows []*accountChange) error {
	n := len(rows)
	if n == 0 {
		return nil
	}
	accounts, opened, closed := make([]int64, n), make([]string, n), make([]string, n)
	balances, transactions := make([]int64, n), make([]int64, n)
	for i, a := range rows {
		accounts[i], opened[i], closed[i] = int64(a.account), string(a.openedOn), string(a.closedOn)
		balances[i], transactions[i] = a.balanceMinor, a.transactions
	}
	return tx.Queue(ctx, pgAccount, int32(p), accounts, opened, closed, balances, transactions)
}

func queueCrossings(ctx context.Context, tx *postgres.Tx, rows []*crossingChange) error {
	n := len(rows)
	if n == 0 {
		return nil
	}
	partitions, ids, from, to, amounts := make([]int32, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	days, types, reasons := make([]string, n), make([]string, n), make([]string, n)
	sent, credited, refused, returned := make([]int16, n), make([]int16, n), make([]int16, n), make([]int16, n)
	for i, c := range rows {
		partitions[i], ids[i], from[i], to[i], amounts[i] = int32(c.Partition), int64(c.ID), int64(c.From), int64(c.To), c.AmountMinor
		days[i], types[i], reasons[i] = string(c.BookedOn), c.Type, c.reason
		sent[i], credited[i], refused[i], returned[i] = int16(c.sent), int16(c.credited), int16(c.refused), int16(c.returned)
	}
	return tx.Queue(ctx, pgCrossing, partitions, ids, from, to, amounts, days, types, sent, credited, refused, returned, reasons)
}
