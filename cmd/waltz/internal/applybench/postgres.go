package applybench

import (
	"context"
	"database/sql"
	"errors"
	"net/url"

	"github.com/jackc/pgx/v5"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/waltz"
)

func postgresKind() *kind {
	return &kind{
		name: "postgres", openDB: postgres.OpenDB, reserve: reserveSchema, byHand: openPostgresHand,
		tables: []string{
			`CREATE TABLE account (account_id bigint NOT NULL PRIMARY KEY, partition_no integer NOT NULL, opened_on text COLLATE "C" NOT NULL,
	closed_on text COLLATE "C", balance_minor bigint NOT NULL, transactions bigint NOT NULL) WITH (fillfactor = 70)`,
			`CREATE TABLE entry (partition_no integer NOT NULL, id bigint NOT NULL, kind text NOT NULL, type text NOT NULL, booked_on text COLLATE "C" NOT NULL,
	amount_minor bigint NOT NULL, from_account bigint NOT NULL, to_account bigint NOT NULL, allow_overdraft smallint NOT NULL, PRIMARY KEY (partition_no, id))`,
			`CREATE TABLE posting (account_id bigint NOT NULL, id bigint NOT NULL, booked_on text COLLATE "C" NOT NULL, amount_minor bigint NOT NULL,
	PRIMARY KEY (account_id, id))`,
			`CREATE TABLE hand_keys (partition_no bigint NOT NULL, business_key bytea NOT NULL, transaction_id bigint NOT NULL, PRIMARY KEY (partition_no, business_key))`,
			`CREATE TABLE hand_marks (partition_no integer NOT NULL PRIMARY KEY, high_water_mark bigint NOT NULL)`,
			marks(),
		},
		open: func(ctx context.Context, log applier.Log, address string, way Way, o applier.Options) (view, error) {
			handlers := map[Way]postgres.Handler{PerRecord: applier.On(posted, pgRecord), PerBatch: applier.OnBatch(posted, pgBatch)}
			return onView(postgres.OpenLog(ctx, log, address, o, handlers[way]))
		},
	}
}

// reserveSchema makes a schema, and an address whose tables are in it.
func reserveSchema(ctx context.Context, address, name string) (string, func(context.Context) error, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", nil, errors.New("not an address of PostgreSQL: want postgres://user:password@host:port/database") // it may hold a password
	}
	run := func(ctx context.Context, statement string) error {
		return onDB(postgresKind(), address, func(db *sql.DB) error { return executeAll(ctx, db, []string{statement}) })
	}
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	drop := func(ctx context.Context) error { return run(ctx, "DROP SCHEMA IF EXISTS "+name+" CASCADE") }
	return u.String(), drop, run(ctx, "CREATE SCHEMA "+name)
}

const (
	pgEntry   = `INSERT INTO entry (partition_no, id, kind, type, booked_on, amount_minor, from_account, to_account, allow_overdraft) VALUES ($1, $2, 'TRANSFER', $3, $4, $5, $6, $7, $8)`
	pgPosting = `INSERT INTO posting (account_id, id, booked_on, amount_minor) VALUES ($1, $2, $3, $4)`
	pgAccount = `INSERT INTO account AS a (account_id, partition_no, opened_on, balance_minor, transactions) VALUES ($1, $2, $3, $4, 1)
ON CONFLICT (account_id) DO UPDATE SET balance_minor = a.balance_minor + excluded.balance_minor, transactions = a.transactions + excluded.transactions`

	pgEntries = `INSERT INTO entry (partition_no, id, kind, type, booked_on, amount_minor, from_account, to_account, allow_overdraft)
SELECT $1::integer, i, 'TRANSFER', t, b, a, f, r, o
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::smallint[]) AS u (i, t, b, a, f, r, o)`
	pgPostings = `INSERT INTO posting (account_id, id, booked_on, amount_minor) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[])`
	pgAccounts = `INSERT INTO account AS a (account_id, partition_no, opened_on, balance_minor, transactions)
SELECT n, $1::integer, o, b, t FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) AS u (n, o, b, t)
ON CONFLICT (account_id) DO UPDATE SET balance_minor = a.balance_minor + excluded.balance_minor, transactions = a.transactions + excluded.transactions`

	pgHandMark = `UPDATE hand_marks SET high_water_mark = $2 WHERE partition_no = $1`
	pgHandKeys = `INSERT INTO hand_keys SELECT $1::bigint, * FROM unnest($2::bytea[], $3::bigint[])`
)

// pgRecord is the handler for one record.
func pgRecord(ctx context.Context, tx *postgres.Tx, r record) error {
	v := &r.Value
	return errors.Join(
		tx.Queue(ctx, pgEntry, int32(r.Partition), int64(r.ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, int16(flag(v.allowOverdraft))),
		tx.Queue(ctx, pgPosting, v.from, int64(r.ID), v.bookedOn, -v.amountMinor),
		tx.Queue(ctx, pgPosting, v.to, int64(r.ID), v.bookedOn, v.amountMinor),
		tx.Queue(ctx, pgAccount, v.from, int32(r.Partition), v.bookedOn, -v.amountMinor),
		tx.Queue(ctx, pgAccount, v.to, int32(r.Partition), v.bookedOn, v.amountMinor),
	)
}

// pgEntryRow is a row of an entry, as postgres.Arrays takes it.
type pgEntryRow struct {
	ID             int64
	Type, BookedOn string
	AmountMinor    int64
	From, To       int64
	AllowOverdraft int16
}

// pgBatch is the handler for a batch, with the helpers of the package.
func pgBatch(ctx context.Context, tx *postgres.Tx, rs []record) error {
	entries, changes := make([]pgEntryRow, 0, len(rs)), make([]change, 0, 2*len(rs))
	for i := range rs {
		v := &rs[i].Value
		entries = append(entries, pgEntryRow{int64(rs[i].ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, int16(flag(v.allowOverdraft))})
		changes = append(changes, change{v.from, v.bookedOn, -v.amountMinor, 1}, change{v.to, v.bookedOn, v.amountMinor, 1})
	}
	changes = postgres.Fold(changes, func(c *change) int64 { return c.Account }, func(total, c *change) {
		total.BalanceMinor += c.BalanceMinor
		total.Transactions += c.Transactions
	})
	p := int32(rs[0].Partition)
	return errors.Join(
		tx.Queue(ctx, pgEntries, append([]any{p}, postgres.Arrays(entries)...)...),
		tx.Queue(ctx, pgPostings, postgres.Arrays(postingsOf(rs))...),
		tx.Queue(ctx, pgAccounts, append([]any{p}, postgres.Arrays(changes)...)...),
	)
}

// pgHand is one connection for each partition, and everything of a batch in one
// pgx.Batch: one SQL transaction in one round trip.
type pgHand struct {
	conns []*pgx.Conn
	write func(*pgx.Batch, []record)
}

func openPostgresHand(ctx context.Context, address string, way Way, partitions int) (hand, error) {
	h := &pgHand{write: map[Way]func(*pgx.Batch, []record){PerRecord: pgHandRecords, PerBatch: pgHandSets}[way]}
	for range partitions {
		c, err := pgx.Connect(ctx, address)
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		h.conns = append(h.conns, c)
	}
	return h, nil
}

func (h *pgHand) close() (err error) {
	for _, c := range h.conns {
		err = errors.Join(err, c.Close(context.Background()))
	}
	return err
}

func (h *pgHand) commit(ctx context.Context) error {
	_, err := h.conns[0].Exec(ctx, pgHandMark, 0, 0)
	return err
}

func (h *pgHand) apply(ctx context.Context, p waltz.Partition, rs []record) error {
	b := &pgx.Batch{}
	b.Queue(pgHandMark, int32(p), int64(rs[len(rs)-1].ID))
	keys, ids := make([][]byte, len(rs)), make([]int64, len(rs))
	for i := range rs {
		keys[i], ids[i] = []byte(rs[i].Key), int64(rs[i].ID)
	}
	b.Queue(pgHandKeys, int64(p), keys, ids)
	h.write(b, rs)
	return h.conns[p].SendBatch(ctx, b).Close()
}

func pgHandRecords(b *pgx.Batch, rs []record) {
	for i := range rs {
		r, v := &rs[i].Committed, &rs[i].Value
		b.Queue(pgEntry, int32(r.Partition), int64(r.ID), v.typ, v.bookedOn, v.amountMinor, v.from, v.to, int16(flag(v.allowOverdraft)))
		b.Queue(pgPosting, v.from, int64(r.ID), v.bookedOn, -v.amountMinor)
		b.Queue(pgPosting, v.to, int64(r.ID), v.bookedOn, v.amountMinor)
		b.Queue(pgAccount, v.from, int32(r.Partition), v.bookedOn, -v.amountMinor)
		b.Queue(pgAccount, v.to, int32(r.Partition), v.bookedOn, v.amountMinor)
	}
}

func pgHandSets(b *pgx.Batch, rs []record) {
	n := len(rs)
	ids, types, days := make([]int64, n), make([]string, n), make([]string, n)
	amounts, from, to, overdraft := make([]int64, n), make([]int64, n), make([]int64, n), make([]int16, n)
	for i := range rs {
		v := &rs[i].Value
		ids[i], types[i], days[i], amounts[i] = int64(rs[i].ID), v.typ, v.bookedOn, v.amountMinor
		from[i], to[i], overdraft[i] = v.from, v.to, int16(flag(v.allowOverdraft))
	}
	p := int32(rs[0].Partition)
	b.Queue(pgEntries, p, ids, types, days, amounts, from, to, overdraft)

	rows := postingsOf(rs)
	owners, ids, days, amounts := make([]int64, len(rows)), make([]int64, len(rows)), make([]string, len(rows)), make([]int64, len(rows))
	for i, r := range rows {
		owners[i], ids[i], days[i], amounts[i] = r.Account, r.ID, r.BookedOn, r.AmountMinor
	}
	b.Queue(pgPostings, owners, ids, days, amounts)

	changes := changesOf(rs)
	n = len(changes)
	owners, opened, balances, counts := make([]int64, n), make([]string, n), make([]int64, n), make([]int64, n)
	for i, c := range changes {
		owners[i], opened[i], balances[i], counts[i] = c.Account, c.OpenedOn, c.BalanceMinor, c.Transactions
	}
	b.Queue(pgAccounts, p, owners, opened, balances, counts)
}
