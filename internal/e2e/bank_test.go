package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// The bank is the smallest application with something to lose: accounts that
// must not be overdrawn, and money that must neither come nor go. Beside the
// balances its view has a row for every transaction, so that it can be told
// whether the view is exact (I7).

// movement takes an amount from an account, unless From is the outside, and
// gives it to another. Both are in the transaction's partition.
type movement struct {
	From, To uint64
	Amount   int64
}

// outside is where deposits come from.
const outside = 0

const account waltz.LockName = "account"

// named is a codec whose first line is the name of the attempt (history.NameOf).
type named[T any] struct {
	Name  string
	Value T
}

type namedCodec[T any] struct{}

func (namedCodec[T]) Encode(v named[T]) ([]byte, error) {
	body, err := json.Marshal(v.Value)
	return append([]byte(v.Name+"\n"), body...), err
}

func (namedCodec[T]) Decode(data []byte, v *named[T]) error {
	name, body, found := bytes.Cut(data, []byte("\n"))
	if !found {
		return errors.New("no name")
	}
	v.Name = string(name)
	return json.Unmarshal(body, &v.Value)
}

// moved is the bank's one kind of transaction.
func moved() waltz.Kind[named[movement]] {
	return waltz.Kind[named[movement]]{Header: 7, Name: "moved", Codec: namedCodec[movement]{}}
}

// raw is the kind of what appenders append, whatever the header.
func raw(h waltz.Header) waltz.Kind[[]byte] {
	return waltz.Kind[[]byte]{Header: h, Name: fmt.Sprint("raw ", h), Codec: rawCodec{}}
}

type rawCodec struct{}

func (rawCodec) Encode(v []byte) ([]byte, error)     { return v, nil }
func (rawCodec) Decode(data []byte, v *[]byte) error { *v = data; return nil }

const bankTables = `
CREATE TABLE IF NOT EXISTS applied (partition_no INTEGER, id INTEGER, name TEXT, PRIMARY KEY (partition_no, id));
CREATE TABLE IF NOT EXISTS balance (partition_no INTEGER, account INTEGER, amount INTEGER, PRIMARY KEY (partition_no, account));`

// openBank opens the view in a SQLite file.
func openBank(ctx context.Context, client *waltz.Client, path string, o applier.Options) (*sqlite.View, error) {
	db, err := sqlite.OpenDB(path)
	if err != nil {
		return nil, err
	}
	_, err = db.ExecContext(ctx, bankTables)
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, fmt.Errorf("create the bank's tables: %w", err)
	}
	o.Name = "bank"
	handlers := []sqlite.Handler{applier.On(moved(), applyMoved)}
	for h := range waltz.Header(4) {
		handlers = append(handlers, applier.On(raw(h), applyRaw))
	}
	return sqlite.Open(ctx, client, path, o, handlers...)
}

func applyMoved(ctx context.Context, tx sqlite.Tx, r waltz.Record[named[movement]]) error {
	m := r.Value.Value
	if err := applied(ctx, tx, r.Committed, r.Value.Name); err != nil {
		return err
	}
	const change = `INSERT INTO balance VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount`
	if m.From != outside {
		if _, err := tx.Exec(ctx, change, r.Partition, m.From, -m.Amount); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, change, r.Partition, m.To, m.Amount)
	return err
}

func applyRaw(ctx context.Context, tx sqlite.Tx, r waltz.Record[[]byte]) error {
	return applied(ctx, tx, r.Committed, history.NameOf(r.Data))
}

func applied(ctx context.Context, tx sqlite.Tx, c waltz.Committed, name string) error {
	_, err := tx.Exec(ctx, `INSERT INTO applied VALUES (?, ?, ?)`, c.Partition, c.ID, name)
	return err
}

// bankState is what a view must hold when it has applied 0..mark of a partition.
type bankState struct {
	mark     waltz.ID
	names    []string
	balances map[uint64]int64
}

// replayBank computes it from the log, and refuses a log with an overdraft.
func replayBank(t testing.TB, log []history.Entry, mark waltz.ID) bankState {
	t.Helper()
	s := bankState{mark: mark, names: []string{}, balances: make(map[uint64]int64)}
	for _, e := range log[:mark+1] {
		s.names = append(s.names, history.NameOf(e.Data))
		if e.Header != moved().Header {
			continue
		}
		var m named[movement]
		require.NoError(t, moved().Codec.Decode(e.Data, &m))
		if m.Value.From != outside {
			s.balances[m.Value.From] -= m.Value.Amount
			require.GreaterOrEqual(t, s.balances[m.Value.From], int64(0), "transaction %d overdraws account %d", e.ID, m.Value.From)
		}
		s.balances[m.Value.To] += m.Value.Amount
	}
	return s
}

// readBank reads what a view holds, whatever its processes are doing.
func readBank(t testing.TB, path string, p waltz.Partition) bankState {
	t.Helper()
	db, err := sqlite.OpenDB(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, tx.Rollback()) }()
	s := bankState{mark: waltz.None, names: []string{}, balances: make(map[uint64]int64)}
	err = tx.QueryRowContext(t.Context(), markQuery, p).Scan(&s.mark)
	if !errors.Is(err, sql.ErrNoRows) {
		require.NoError(t, err)
	}
	each(t, tx, `SELECT id, name FROM applied WHERE partition_no = ? ORDER BY id`, p, func(rows *sql.Rows) error {
		var id int
		var name string
		err := rows.Scan(&id, &name)
		require.Equal(t, len(s.names), id, "applied transactions are dense")
		s.names = append(s.names, name)
		return err
	})
	each(t, tx, `SELECT account, amount FROM balance WHERE partition_no = ?`, p, func(rows *sql.Rows) error {
		var a uint64
		var amount int64
		err := rows.Scan(&a, &amount)
		s.balances[a] = amount
		return err
	})
	return s
}

const markQuery = `SELECT high_water_mark FROM waltz_high_water_marks WHERE partition = ?`

func each(t testing.TB, tx *sql.Tx, query string, p waltz.Partition, scan func(*sql.Rows) error) {
	t.Helper()
	rows, err := tx.QueryContext(t.Context(), query, p)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for rows.Next() {
		require.NoError(t, scan(rows))
	}
	require.NoError(t, rows.Err())
}

// requireExact demands that a view shows exactly what its marks say (I7), and
// returns the marks.
func requireExact(t testing.TB, path string, logs map[waltz.Partition][]history.Entry) map[waltz.Partition]waltz.ID {
	t.Helper()
	marks := make(map[waltz.Partition]waltz.ID)
	for p, log := range logs {
		got := readBank(t, path, p)
		require.Less(t, int(got.mark), len(log))
		require.Equal(t, replayBank(t, log, got.mark), got, "partition %d of %s", p, path)
		marks[p] = got.mark
	}
	return marks
}
