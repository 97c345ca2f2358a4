package applybench

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/waltz"
)

func sqliteKind() *kind {
	return &kind{
		name: "sqlite", openDB: sqlite.OpenDB, reserve: reserveFile, byHand: openSQLiteHand,
		tables: []string{
			`CREATE TABLE account (account_id INTEGER NOT NULL PRIMARY KEY, partition_no INTEGER NOT NULL, opened_on TEXT NOT NULL, closed_on TEXT,
	balance_minor INTEGER NOT NULL, transactions INTEGER NOT NULL) STRICT`,
			`CREATE TABLE entry (partition_no INTEGER NOT NULL, id INTEGER NOT NULL, kind TEXT NOT NULL, type TEXT NOT NULL, booked_on TEXT NOT NULL,
	amount_minor INTEGER NOT NULL, from_account INTEGER NOT NULL, to_account INTEGER NOT NULL, allow_overdraft INTEGER NOT NULL, PRIMARY KEY (partition_no, id)) STRICT, WITHOUT ROWID`,
			`CREATE TABLE posting (account_id INTEGER NOT NULL, id INTEGER NOT NULL, booked_on TEXT NOT NULL, amount_minor INTEGER NOT NULL,
	PRIMARY KEY (account_id, id)) STRICT, WITHOUT ROWID`,
			`CREATE TABLE hand_keys (partition_no INTEGER NOT NULL, business_key TEXT NOT NULL, transaction_id INTEGER NOT NULL, PRIMARY KEY (partition_no, business_key)) STRICT, WITHOUT ROWID`,
			`CREATE TABLE hand_marks (partition_no INTEGER NOT NULL PRIMARY KEY, high_water_mark INTEGER NOT NULL) STRICT`,
			marks(),
		},
		open: func(ctx context.Context, log applier.Log, address string, way Way, o applier.Options) (view, error) {
			handlers := map[Way]sqlite.Handler{PerRecord: applier.On(posted, sqliteRecord), PerBatch: applier.OnBatch(posted, sqliteBatch)}
			return onView(sqlite.OpenLog(ctx, log, address, o, handlers[way]))
		},
	}
}

// reserveFile makes a folder beside the file that an address names.
func reserveFile(_ context.Context, address, name string) (string, func(context.Context) error, error) {
	file, err := sqlite.Path(address)
	if err != nil {
		return "", nil, err
	}
	dir := filepath.Join(filepath.Dir(file), name)
	drop := func(context.Context) error { return os.RemoveAll(dir) }
	return filepath.Join(dir, "view.db"), drop, os.Mkdir(dir, 0o755)
}

const (
	sqliteEntries  = `INSERT INTO entry (partition_no, id, kind, type, booked_on, amount_minor, from_account, to_account, allow_overdraft) VALUES `
	sqlitePostings = `INSERT INTO posting (account_id, id, booked_on, amount_minor) VALUES `
	sqliteKeys     = `INSERT INTO hand_keys (partition_no, business_key, transaction_id) VALUES `
	sqliteMark     = `UPDATE hand_marks SET high_water_mark = ? WHERE partition_no = ?`
	sqliteAccount  = `INSERT INTO account (account_id, partition_no, opened_on, balance_minor, transactions) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (account_id) DO UPDATE SET balance_minor = balance_minor + excluded.balance_minor, transactions = transactions + excluded.transactions`

	sqliteEntryRow   = `(?,?,'TRANSFER',?,?,?,?,?,?)`
	sqlitePostingRow = `(?,?,?,?)`
	sqliteKeyRow     = `(?,?,?)`
	sqliteEntry      = sqliteEntries + sqliteEntryRow
	sqlitePosting    = sqlitePostings + sqlitePostingRow
)

// sqliteRecord is the handler for one record.
func sqliteRecord(ctx context.Context, tx sqlite.Tx, r record) error {
	v := &r.Value
	if _, err := tx.Exec(ctx, sqliteEntry, int64(r.Partition), int64(r.ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, flag(v.allowOverdraft)); err != nil {
		return err
	}
	for _, side := range [2]struct{ account, amount int64 }{{v.from, -v.amountMinor}, {v.to, v.amountMinor}} {
		if _, err := tx.Exec(ctx, sqlitePosting, side.account, int64(r.ID), v.bookedOn, side.amount); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, sqliteAccount, side.account, int64(r.Partition), v.bookedOn, side.amount, int64(1)); err != nil {
			return err
		}
	}
	return nil
}

// sqliteBatch is the handler for a batch. In one process with the database, row by
// row is as fast as statements of many rows.
func sqliteBatch(ctx context.Context, tx sqlite.Tx, rs []record) error {
	for i := range rs {
		r, v := &rs[i].Committed, &rs[i].Value
		if _, err := tx.Exec(ctx, sqliteEntry, int64(r.Partition), int64(r.ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, flag(v.allowOverdraft)); err != nil {
			return err
		}
	}
	for _, p := range postingsOf(rs) {
		if _, err := tx.Exec(ctx, sqlitePosting, p.Account, p.ID, p.BookedOn, p.AmountMinor); err != nil {
			return err
		}
	}
	for _, c := range changesOf(rs) {
		if _, err := tx.Exec(ctx, sqliteAccount, c.Account, int64(rs[0].Partition), c.OpenedOn, c.BalanceMinor, c.Transactions); err != nil {
			return err
		}
	}
	return nil
}

// sqliteHand is one connection that partitions take turns with, and statements that are
// prepared once: the set-based ones have a hundred rows, and one.
type sqliteHand struct {
	db       *sql.DB
	prepared []*sql.Stmt
	write    func(h *sqliteHand, w *sqliteWriter, rs []record)

	mark, account, entry, posting, key *sql.Stmt
	entries, postings, keys            *sql.Stmt
}

// handRows is how many rows a set-based statement has.
const handRows = 100

func openSQLiteHand(ctx context.Context, address string, way Way, _ int) (hand, error) {
	db, err := sqlite.OpenDB(address)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	h := &sqliteHand{db: db, write: (*sqliteHand).records}
	if way == PerBatch {
		h.write = (*sqliteHand).sets
	}
	prepare := func(query string) *sql.Stmt {
		s, failed := db.PrepareContext(ctx, query)
		if failed == nil {
			h.prepared = append(h.prepared, s)
		}
		err = errors.Join(err, failed)
		return s
	}
	h.mark, h.account, h.entry, h.posting, h.key = prepare(sqliteMark), prepare(sqliteAccount), prepare(sqliteEntry), prepare(sqlitePosting), prepare(sqliteKeys+sqliteKeyRow)
	h.entries, h.postings = prepare(many(sqliteEntries, sqliteEntryRow, handRows)), prepare(many(sqlitePostings, sqlitePostingRow, handRows))
	h.keys = prepare(many(sqliteKeys, sqliteKeyRow, handRows))
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

func (h *sqliteHand) close() (err error) {
	for _, s := range h.prepared {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, h.db.Close())
}

func (h *sqliteHand) commit(ctx context.Context) error {
	_, err := h.db.ExecContext(ctx, `UPDATE hand_marks SET high_water_mark = high_water_mark + 1 WHERE partition_no = 0`)
	return err
}

func (h *sqliteHand) apply(ctx context.Context, p waltz.Partition, rs []record) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	w := &sqliteWriter{ctx: ctx, tx: tx, bound: map[*sql.Stmt]*sql.Stmt{}}
	w.exec(h.mark, int64(rs[len(rs)-1].ID), int64(p))
	h.write(h, w, rs)
	keys := make([]any, 0, 3*len(rs))
	for i := range rs {
		keys = append(keys, int64(p), rs[i].Key, int64(rs[i].ID))
	}
	w.insert(h.keys, h.key, 3, keys)
	if w.err != nil {
		return w.err
	}
	return tx.Commit()
}

func (h *sqliteHand) records(w *sqliteWriter, rs []record) {
	for i := range rs {
		r, v := &rs[i].Committed, &rs[i].Value
		w.exec(h.entry, int64(r.Partition), int64(r.ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, flag(v.allowOverdraft))
		for _, side := range [2]struct{ account, amount int64 }{{v.from, -v.amountMinor}, {v.to, v.amountMinor}} {
			w.exec(h.posting, side.account, int64(r.ID), v.bookedOn, side.amount)
			w.exec(h.account, side.account, int64(r.Partition), v.bookedOn, side.amount, int64(1))
		}
	}
}

func (h *sqliteHand) sets(w *sqliteWriter, rs []record) {
	args := make([]any, 0, 8*len(rs))
	for i := range rs {
		r, v := &rs[i].Committed, &rs[i].Value
		args = append(args, int64(r.Partition), int64(r.ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, flag(v.allowOverdraft))
	}
	w.insert(h.entries, h.entry, 8, args)
	args = args[:0]
	for _, p := range postingsOf(rs) {
		args = append(args, p.Account, p.ID, p.BookedOn, p.AmountMinor)
	}
	w.insert(h.postings, h.posting, 4, args)
	for _, c := range changesOf(rs) {
		w.exec(h.account, c.Account, int64(rs[0].Partition), c.OpenedOn, c.BalanceMinor, c.Transactions)
	}
}

// sqliteWriter runs statements in one SQL transaction, and stops at the first error.
type sqliteWriter struct {
	ctx   context.Context
	tx    *sql.Tx
	bound map[*sql.Stmt]*sql.Stmt // to the SQL transaction, with which they end
	err   error
}

func (w *sqliteWriter) exec(s *sql.Stmt, args ...any) {
	if w.err != nil {
		return
	}
	bound := w.bound[s]
	if bound == nil {
		bound = w.tx.StmtContext(w.ctx, s) //nolint:sqlclosecheck // it ends with the SQL transaction
		w.bound[s] = bound
	}
	_, w.err = bound.ExecContext(w.ctx, args...)
}

// insert writes rows of the given width, as many at a time as a statement has.
func (w *sqliteWriter) insert(many, one *sql.Stmt, width int, args []any) {
	for ; len(args) >= width*handRows; args = args[width*handRows:] {
		w.exec(many, args[:width*handRows]...)
	}
	for ; len(args) > 0; args = args[width:] {
		w.exec(one, args[:width]...)
	}
}
