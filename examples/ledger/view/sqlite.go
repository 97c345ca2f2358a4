package view

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/pressly/goose/v3"
	sqlite3 "modernc.org/sqlite"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

func sqliteKind() *kind {
	return &kind{
		name: "sqlite", framework: migrations.SQLite, goose: goose.DialectSQLite3,
		form: "sqlite:///abs/file", isURL: sqlite.IsURL,
		check:   func(address string) error { _, err := sqlite.Path(address); return err },
		prepare: makeFolder, exists: fileExists,
		openDB: sqlite.OpenDB, openReader: openFile, open: openSQLite, asks: plain, missing: missingSQLite,
	}
}

func makeFolder(address string) error {
	file, err := sqlite.Path(address)
	if err != nil {
		return err
	}
	return os.MkdirAll(filepath.Dir(file), 0o755)
}

func fileExists(address string) error {
	file, err := sqlite.Path(address)
	if err == nil {
		_, err = os.Stat(file)
	}
	return err
}

// openFile opens a file that is there to be read only.
func openFile(address string) (*sql.DB, error) {
	file, err := sqlite.Path(address)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "file", Path: file, RawQuery: "mode=ro&_pragma=busy_timeout(5000)"}
	return sql.Open("sqlite", u.String())
}

// missingSQLite knows SQLITE_ERROR, which a table gives that is not there, CORRUPT and
// NOTADB.
func missingSQLite(err error) bool {
	e, is := errors.AsType[*sqlite3.Error](err)
	return is && slices.Contains([]int{1, 11, 26}, e.Code()&0xff)
}

func openSQLite(ctx context.Context, k *kind, log applier.Log, address string, db *sql.DB, o applier.Options) (View, error) {
	v, err := sqlite.OpenLog(ctx, log, address, o, handlers(writeSQLite)...)
	if err != nil {
		return nil, err
	}
	return native[sqlite.Tx, sqlite.Snapshot]{v, k, db, askSQLite}, nil
}

func askSQLite(s sqlite.Snapshot) Querier {
	return func(ctx context.Context, query string, args ...any) (Rows, error) {
		return s.Query(ctx, query, args...)
	}
}

const (
	sqliteEntry = `INSERT INTO entry (partition_no, id, kind, type, booked_on, amount_minor, from_account, to_account, allow_overdraft)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`

	sqlitePosting = `INSERT INTO posting (account_id, id, booked_on, amount_minor) VALUES (?, ?, ?, ?)`

	sqliteAccount = `INSERT INTO account (account_id, partition_no, opened_on, closed_on, balance_minor, transactions)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (account_id) DO UPDATE SET
    opened_on     = min(opened_on, excluded.opened_on),
    closed_on     = coalesce(excluded.closed_on, closed_on),
    balance_minor = balance_minor + excluded.balance_minor,
    transactions  = transactions + excluded.transactions`

	sqliteCrossing = `INSERT INTO crossing (origin_partition, origin_id, from_account, to_account, amount_minor, booked_on, type, sent, credited, refused, returned, reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (origin_partition, origin_id) DO UPDATE SET
    sent     = max(sent, excluded.sent),
    credited = max(credited, excluded.credited),
    refused  = max(refused, excluded.refused),
    returned = max(returned, excluded.returned),
    reason   = max(reason, excluded.reason)`
)

// writeSQLite writes row by row with prepared statements: in one process with the
// database, that is as fast as statements of many rows, which were tried.
func writeSQLite(ctx context.Context, tx sqlite.Tx, records []waltz.Record[ledger.Entry], b *batch) error {
	w := rowWriter{ctx: ctx, tx: tx}
	for i := range records {
		r, e := &records[i].Committed, &records[i].Value
		w.exec(sqliteEntry, int64(r.Partition), int64(r.ID), string(e.Kind), e.Type, string(e.BookedOn), e.AmountMinor,
			int64(e.From), int64(e.To), flag(e.AllowOverdraft))
	}
	for _, p := range b.postings {
		w.exec(sqlitePosting, int64(p.account), int64(p.id), string(p.bookedOn), p.amountMinor)
	}
	for _, a := range b.sortedAccounts() {
		w.exec(sqliteAccount, int64(a.account), int64(a.partition), string(a.openedOn), orNull(a.closedOn), a.balanceMinor, a.transactions)
	}
	for _, c := range b.sortedCrossings() {
		w.exec(sqliteCrossing, int64(c.Partition), int64(c.ID), int64(c.From), int64(c.To), c.AmountMinor, string(c.BookedOn), c.Type,
			c.sent, c.credited, c.refused, c.returned, c.reason)
	}
	return w.err
}

// rowWriter stops at the first error.
type rowWriter struct {
	ctx context.Context
	tx  sqlite.Tx
	err error
}

func (w *rowWriter) exec(query string, args ...any) {
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
