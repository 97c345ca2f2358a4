package applybench

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strings"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/waltz"
)

func mysqlKind() *kind {
	return &kind{
		name: "mysql", openDB: mysql.OpenDB, reserve: reserveDatabase, byHand: openMySQLHand,
		tables: []string{
			`CREATE TABLE account (account_id bigint NOT NULL PRIMARY KEY, partition_no int NOT NULL, opened_on char(10) NOT NULL, closed_on char(10),
	balance_minor bigint NOT NULL, transactions bigint NOT NULL)` + innoDB,
			`CREATE TABLE entry (partition_no int NOT NULL, id bigint NOT NULL, kind varchar(32) NOT NULL, type varchar(255) NOT NULL, booked_on char(10) NOT NULL,
	amount_minor bigint NOT NULL, from_account bigint NOT NULL, to_account bigint NOT NULL, allow_overdraft tinyint NOT NULL, PRIMARY KEY (partition_no, id))` + innoDB,
			`CREATE TABLE posting (account_id bigint NOT NULL, id bigint NOT NULL, booked_on char(10) NOT NULL, amount_minor bigint NOT NULL,
	PRIMARY KEY (account_id, id))` + innoDB,
			`CREATE TABLE hand_keys (partition_no bigint NOT NULL, business_key varbinary(255) NOT NULL, transaction_id bigint NOT NULL, PRIMARY KEY (partition_no, business_key))` + innoDB,
			`CREATE TABLE hand_marks (partition_no int NOT NULL PRIMARY KEY, high_water_mark bigint NOT NULL)` + innoDB,
			marks(),
		},
		open: func(ctx context.Context, log applier.Log, address string, way Way, o applier.Options) (view, error) {
			handlers := map[Way]mysql.Handler{PerRecord: applier.On(posted, mysqlRecord), PerBatch: applier.OnBatch(posted, mysqlBatch)}
			return onView(mysql.OpenLog(ctx, log, address, o, handlers[way]))
		},
	}
}

const innoDB = ` ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`

// reserveDatabase makes a database, as a user who may.
func reserveDatabase(ctx context.Context, address, name string) (string, func(context.Context) error, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", nil, errors.New("not an address of MySQL: want mysql://user:password@host:port/database") // it may hold a password
	}
	run := func(ctx context.Context, statement string) error {
		return onDB(mysqlKind(), address, func(db *sql.DB) error { return executeAll(ctx, db, []string{statement}) })
	}
	u.Path = "/" + name
	drop := func(ctx context.Context) error { return run(ctx, "DROP DATABASE IF EXISTS "+name) }
	return u.String(), drop, run(ctx, "CREATE DATABASE "+name)
}

const (
	mysqlEntries  = `INSERT INTO entry (partition_no, id, kind, type, booked_on, amount_minor, from_account, to_account, allow_overdraft) VALUES `
	mysqlPostings = `INSERT INTO posting (account_id, id, booked_on, amount_minor) VALUES `
	mysqlAccounts = `INSERT INTO account (account_id, partition_no, opened_on, balance_minor, transactions) VALUES `
	mysqlAdd      = ` ON DUPLICATE KEY UPDATE balance_minor = balance_minor + VALUES(balance_minor), transactions = transactions + VALUES(transactions)`
	mysqlKeys     = `INSERT INTO hand_keys (partition_no, business_key, transaction_id) VALUES `
	mysqlMark     = `UPDATE hand_marks SET high_water_mark = ? WHERE partition_no = ?`

	mysqlEntry   = mysqlEntries + `(?, ?, 'TRANSFER', ?, ?, ?, ?, ?, ?)`
	mysqlPosting = mysqlPostings + `(?, ?, ?, ?)`
	mysqlAccount = mysqlAccounts + `(?, ?, ?, ?, 1)` + mysqlAdd
)

// mysqlRecord is the handler for one record.
func mysqlRecord(ctx context.Context, tx *mysql.Tx, r record) error {
	return mysqlStatements(&r, func(query string, args ...any) error {
		_, err := tx.Exec(ctx, query, args...)
		return err
	})
}

// mysqlStatements are those of one record.
func mysqlStatements(r *record, exec func(query string, args ...any) error) error {
	v := &r.Value
	if err := exec(mysqlEntry, int64(r.Partition), int64(r.ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, flag(v.allowOverdraft)); err != nil {
		return err
	}
	for _, side := range [2]struct{ account, amount int64 }{{v.from, -v.amountMinor}, {v.to, v.amountMinor}} {
		if err := exec(mysqlPosting, side.account, int64(r.ID), v.bookedOn, side.amount); err != nil {
			return err
		}
		if err := exec(mysqlAccount, side.account, int64(r.Partition), v.bookedOn, side.amount); err != nil {
			return err
		}
	}
	return nil
}

// mysqlBatch is the handler for a batch, with the sets of the package.
func mysqlBatch(ctx context.Context, tx *mysql.Tx, rs []record) error {
	entries := mysql.Insert{Table: "entry", Columns: []string{"partition_no", "id", "kind", "type", "booked_on", "amount_minor", "from_account", "to_account", "allow_overdraft"}}.For(tx)
	postings := mysql.Insert{Table: "posting", Columns: []string{"account_id", "id", "booked_on", "amount_minor"}}.For(tx)
	accounts := mysql.Upsert{Table: "account", Key: []string{"account_id"}, Add: []string{"balance_minor", "transactions"}, Keep: []string{"partition_no", "opened_on"}}.For(tx)
	for i := range rs {
		r, v := &rs[i].Committed, &rs[i].Value
		entries.Add(int64(r.Partition), int64(r.ID), "TRANSFER", v.typ, v.bookedOn, v.amountMinor, v.from, v.to, flag(v.allowOverdraft))
		accounts.Add(v.from, -v.amountMinor, int64(1), int64(r.Partition), v.bookedOn)
		accounts.Add(v.to, v.amountMinor, int64(1), int64(r.Partition), v.bookedOn)
	}
	for _, p := range postingsOf(rs) {
		postings.Add(p.Account, p.ID, p.BookedOn, p.AmountMinor)
	}
	for _, set := range []*mysql.Set{entries, postings, accounts} {
		if err := set.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// mysqlHand is one connection for each partition. The driver writes arguments into
// the text of statements, as it does for the applier.
type mysqlHand struct {
	db    *sql.DB
	conns []*sql.Conn
	write func(exec func(query string, args ...any) error, rs []record) error
}

func openMySQLHand(ctx context.Context, address string, way Way, partitions int) (hand, error) {
	db, err := mysql.OpenDB(address)
	if err != nil {
		return nil, err
	}
	h := &mysqlHand{db: db, write: mysqlHandRecords}
	if way == PerBatch {
		h.write = mysqlHandSets
	}
	for range partitions {
		c, err := db.Conn(ctx)
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		h.conns = append(h.conns, c)
	}
	return h, nil
}

func (h *mysqlHand) close() (err error) {
	for _, c := range h.conns {
		err = errors.Join(err, c.Close())
	}
	return errors.Join(err, h.db.Close())
}

func (h *mysqlHand) commit(ctx context.Context) error {
	_, err := h.conns[0].ExecContext(ctx, `UPDATE hand_marks SET high_water_mark = high_water_mark + 1 WHERE partition_no = 0`)
	return err
}

func (h *mysqlHand) apply(ctx context.Context, p waltz.Partition, rs []record) error {
	tx, err := h.conns[p].BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	exec := func(query string, args ...any) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	}
	if err := exec(mysqlMark, int64(rs[len(rs)-1].ID), int64(p)); err != nil {
		return err
	}
	if err := h.write(exec, rs); err != nil {
		return err
	}
	keys := make([]any, 0, 3*len(rs))
	for i := range rs {
		keys = append(keys, int64(p), []byte(rs[i].Key), int64(rs[i].ID))
	}
	if err := exec(many(mysqlKeys, "(?,?,?)", len(rs)), keys...); err != nil {
		return err
	}
	return tx.Commit()
}

// many is a statement of n rows.
func many(insert, row string, n int) string { return insert + row + strings.Repeat(","+row, n-1) }

func mysqlHandRecords(exec func(query string, args ...any) error, rs []record) error {
	for i := range rs {
		if err := mysqlStatements(&rs[i], exec); err != nil {
			return err
		}
	}
	return nil
}

func mysqlHandSets(exec func(query string, args ...any) error, rs []record) error {
	args := make([]any, 0, 8*len(rs))
	for i := range rs {
		r, v := &rs[i].Committed, &rs[i].Value
		args = append(args, int64(r.Partition), int64(r.ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, flag(v.allowOverdraft))
	}
	if err := exec(many(mysqlEntries, "(?,?,'TRANSFER',?,?,?,?,?,?)", len(rs)), args...); err != nil {
		return err
	}
	args = args[:0]
	for _, p := range postingsOf(rs) {
		args = append(args, p.Account, p.ID, p.BookedOn, p.AmountMinor)
	}
	if err := exec(many(mysqlPostings, "(?,?,?,?)", 2*len(rs)), args...); err != nil {
		return err
	}
	args = args[:0]
	changes := changesOf(rs)
	for _, c := range changes {
		args = append(args, c.Account, int64(rs[0].Partition), c.OpenedOn, c.BalanceMinor, c.Transactions)
	}
	return exec(many(mysqlAccounts, "(?,?,?,?,?)", len(changes))+mysqlAdd, args...)
}
