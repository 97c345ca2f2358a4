package view

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	driver "github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

func mysqlKind() *kind {
	return &kind{
		name: "mysql", framework: migrations.MySQL, goose: goose.DialectMySQL,
		form: "mysql://user:password@host:port/database", isURL: mysql.IsURL,
		check:   func(address string) error { return openable(mysql.OpenDB(address)) },
		prepare: func(string) error { return nil },
		openDB:  mysql.OpenDB, openReader: mysql.OpenDB, open: openMySQL, asks: plain,
		isolation: sql.LevelRepeatableRead, missing: missingMySQL,
	}
}

// missingMySQL knows ER_NO_SUCH_TABLE and ER_BAD_FIELD_ERROR.
func missingMySQL(err error) bool {
	e, is := errors.AsType[*driver.MySQLError](err)
	return is && (e.Number == 1146 || e.Number == 1054)
}

func openMySQL(ctx context.Context, k *kind, log applier.Log, address string, db *sql.DB, o applier.Options) (View, error) {
	v, err := mysql.OpenLog(ctx, log, address, o, handlers(writeMySQL)...)
	if err != nil {
		return nil, err
	}
	return native[*mysql.Tx, *mysql.Snapshot]{v, k, db, askMySQL}, nil
}

func askMySQL(s *mysql.Snapshot) Querier {
	return func(ctx context.Context, query string, args ...any) (Rows, error) {
		return s.Query(ctx, query, args...)
	}
}

const (
	mysqlAccount = `INSERT INTO account (account_id, partition_no, opened_on, closed_on, balance_minor, transactions) VALUES `

	mysqlAccountChanges = ` ON DUPLICATE KEY UPDATE
    opened_on     = least(opened_on, VALUES(opened_on)),
    closed_on     = coalesce(VALUES(closed_on), closed_on),
    balance_minor = balance_minor + VALUES(balance_minor),
    transactions  = transactions + VALUES(transactions)`

	mysqlCrossing = `INSERT INTO crossing (origin_partition, origin_id, from_account, to_account, amount_minor, booked_on, type, sent, credited, refused, returned, reason) VALUES `

	mysqlCrossingChanges = ` ON DUPLICATE KEY UPDATE
    sent     = greatest(sent, VALUES(sent)),
    credited = greatest(credited, VALUES(credited)),
    refused  = greatest(refused, VALUES(refused)),
    returned = greatest(returned, VALUES(returned)),
    reason   = greatest(reason, VALUES(reason))`

	// mysqlRowsMax bounds the rows of one statement, whose arguments are in its text.
	mysqlRowsMax = 1000
)

// writeMySQL writes each table with statements of many rows. Rows that are new are
// the framework's to write; least and greatest are said here.
func writeMySQL(ctx context.Context, tx *mysql.Tx, records []waltz.Record[ledger.Entry], b *batch) error {
	entries := mysql.Insert{Table: "entry", Columns: []string{"partition_no", "id", "kind", "type", "booked_on", "amount_minor", "from_account", "to_account", "allow_overdraft"}}.For(tx)
	for i := range records {
		r, e := &records[i].Committed, &records[i].Value
		entries.Add(int64(r.Partition), int64(r.ID), string(e.Kind), e.Type, string(e.BookedOn), e.AmountMinor, int64(e.From), int64(e.To), flag(e.AllowOverdraft))
	}
	if err := entries.Exec(ctx); err != nil {
		return err
	}
	postings := mysql.Insert{Table: "posting", Columns: []string{"account_id", "id", "booked_on", "amount_minor"}}.For(tx)
	for _, p := range b.postings {
		postings.Add(int64(p.account), int64(p.id), string(p.bookedOn), p.amountMinor)
	}
	if err := postings.Exec(ctx); err != nil {
		return err
	}
	err := upsert(ctx, tx, mysqlAccount, mysqlAccountChanges, b.sortedAccounts(), func(a *accountChange) []any {
		return []any{int64(a.account), int64(a.partition), string(a.openedOn), orNull(a.closedOn), a.balanceMinor, a.transactions}
	})
	if err != nil {
		return err
	}
	return upsert(ctx, tx, mysqlCrossing, mysqlCrossingChanges, b.sortedCrossings(), func(c *crossingChange) []any {
		return []any{
			int64(c.Partition), int64(c.ID), int64(c.From), int64(c.To), c.AmountMinor, string(c.BookedOn), c.Type,
			c.sent, c.credited, c.refused, c.returned, c.reason,
		}
	})
}

// upsert writes rows in the order of their keys, a bounded number at a time.
func upsert[R any](ctx context.Context, tx *mysql.Tx, insert, changes string, rows []R, values func(R) []any) error {
	for some := range slices.Chunk(rows, mysqlRowsMax) {
		var args []any
		for _, r := range some {
			args = append(args, values(r)...)
		}
		row := "(" + strings.Repeat("?,", len(args)/len(some)-1) + "?)"
		if _, err := tx.Exec(ctx, insert+strings.Repeat(row+",", len(some)-1)+row+changes, args...); err != nil {
			return err
		}
	}
	return nil
}
