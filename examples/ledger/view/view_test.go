package view_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

func open(t testing.TB) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "view.db")+"?_pragma=synchronous(OFF)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, view.Migrate(t.Context(), db))
	require.NoError(t, view.Migrate(t.Context(), db), "again")
	framework, err := migrations.New(db, migrations.SQLite, migrations.Options{})
	require.NoError(t, err)
	_, err = framework.Up(t.Context())
	require.NoError(t, err)
	return db
}

func apply(t testing.TB, db *sql.DB, records ...waltz.Record[ledger.Entry]) {
	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, view.Apply(t.Context(), execer{tx}, records))
	require.NoError(t, tx.Commit())
}

// execer is what the applier's handle would be.
type execer struct{ *sql.Tx }

func (e execer) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := e.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func record(p waltz.Partition, id waltz.ID, e ledger.Entry) waltz.Record[ledger.Entry] {
	return waltz.Record[ledger.Entry]{Committed: waltz.Committed{Partition: p, ID: id}, Value: e}
}

func movement(kind ledger.Kind, from, to ledger.Account, amount int64, debit, credit ledger.Account) ledger.Entry {
	return ledger.Entry{
		Kind: kind, Type: "T", BookedOn: "2026-01-02", AmountMinor: amount, From: from, To: to,
		Postings: []ledger.Posting{
			{Account: debit, Currency: "CZK", Side: ledger.Debit, AmountMinor: amount},
			{Account: credit, Currency: "CZK", Side: ledger.Credit, AmountMinor: amount},
		},
	}
}

func balances(t testing.TB, db *sql.DB, asOf ledger.Date) (lines []string) {
	add := func(b view.Balance) error {
		lines = append(lines, fmt.Sprint(b.Account, " ", b.Transactions, " ", b.BalanceMinor))
		return nil
	}
	if asOf == "" {
		require.NoError(t, view.Balances(t.Context(), view.FromDB(db), add))
	} else {
		require.NoError(t, view.BalancesAsOf(t.Context(), view.FromDB(db), asOf, add))
	}
	return lines
}

func TestBalancesAsOf(t *testing.T) {
	db := open(t)
	early, late := movement(ledger.KindTransfer, -1, 4, 100, -1, 4), movement(ledger.KindTransfer, 4, 2, 30, 4, 2)
	late.BookedOn = "2026-02-01"
	apply(t, db, record(0, 0, early), record(0, 1, late))
	require.Equal(t, []string{"2 1 30", "4 2 70"}, balances(t, db, ""))
	require.Equal(t, []string{"4 1 100"}, balances(t, db, "2026-01-31"))
	require.Empty(t, balances(t, db, "2026-01-01"))
}

func TestStatement(t *testing.T) {
	db := open(t)
	apply(t, db,
		record(0, 0, movement(ledger.KindTransfer, -1, 4, 100, -1, 4)),
		record(0, 1, movement(ledger.KindOut, 4, 3, 30, 4, -2)))
	var lines []view.Line
	require.NoError(t, view.Statement(t.Context(), view.FromDB(db), 4, view.WholeStatement(), func(l view.Line) error { lines = append(lines, l); return nil }))
	require.Equal(t, []view.Line{
		{ID: 0, BookedOn: "2026-01-02", Kind: ledger.KindTransfer, Type: "T", Counterparty: -1, AmountMinor: 100, BalanceMinor: 100},
		{ID: 1, BookedOn: "2026-01-02", Kind: ledger.KindOut, Type: "T", Counterparty: 3, AmountMinor: -30, BalanceMinor: 70, Status: "pending"},
	}, lines)
}

// A replay may see the partitions in another order than they were written in.
func TestCrossingWhicheverPartitionComesFirst(t *testing.T) {
	origin := &ledger.Origin{Partition: 0, ID: 0}
	out := record(0, 0, movement(ledger.KindOut, 4, 3, 30, 4, -2))
	in := record(1, 0, movement(ledger.KindIn, 4, 3, 30, -4, 3))
	refused := record(1, 0, ledger.Entry{Kind: ledger.KindRefused, BookedOn: "2026-01-02", AmountMinor: 30, From: 4, To: 3, Reason: "no"})
	returned := record(0, 1, movement(ledger.KindReturned, 4, 3, 30, -2, 4))
	in.Value.Origin, refused.Value.Origin, returned.Value.Origin = origin, origin, origin
	type step struct {
		waltz.Record[ledger.Entry]
		want ledger.Status
	}
	for _, steps := range [][]step{
		{{out, ledger.Pending}, {in, ledger.Credited}},
		{{in, ""}, {out, ledger.Credited}},
		{{out, ledger.Pending}, {refused, ledger.Refused}, {returned, ledger.Returned}},
		{{refused, ""}, {out, ledger.Refused}, {returned, ledger.Returned}},
		{{out, ledger.Pending}, {returned, ledger.Returned}, {refused, ledger.Returned}},
	} {
		db := open(t)
		for _, s := range steps {
			apply(t, db, s.Record)
			c, found, err := view.NewBooks(view.FromDB(db)).Crossing(t.Context(), *origin)
			require.NoError(t, err)
			require.Equal(t, s.want != "", found)
			require.Equal(t, s.want, c.Status)
			pending, err := view.NewBooks(view.FromDB(db)).Pending(t.Context(), 0, waltz.None, 10)
			require.NoError(t, err)
			require.Equal(t, s.want == ledger.Pending || s.want == ledger.Refused, len(pending) == 1)
			is, err := view.NewBooks(view.FromDB(db)).PendingFrom(t.Context(), 4)
			require.NoError(t, err)
			require.Equal(t, len(pending) == 1, is)
		}
	}
}

func TestStanding(t *testing.T) {
	db := open(t)
	books := view.NewBooks(view.FromDB(db))
	standing := func() ledger.Standing {
		s, err := books.Standing(t.Context(), 4)
		require.NoError(t, err)
		return s
	}
	require.Equal(t, ledger.Standing{}, standing())
	apply(t, db, record(0, 0, ledger.Entry{Kind: ledger.KindOpened, Account: 4, BookedOn: "2026-01-02"}))
	require.Equal(t, ledger.Standing{Known: true}, standing())
	apply(t, db, record(0, 1, ledger.Entry{Kind: ledger.KindClosed, Account: 4, BookedOn: "2026-01-03"}))
	require.Equal(t, ledger.Standing{Known: true, Closed: true}, standing())
}

// However the log is cut into batches, and however partitions take turns, the
// tables come out the same.
func TestTablesDoNotDependOnBatches(t *testing.T) {
	one, split := open(t), open(t)
	rapid.Check(t, func(rt *rapid.T) {
		var logs [2][]waltz.Record[ledger.Entry]
		for i := range rapid.IntRange(1, 30).Draw(rt, "entries") {
			p := i % 2
			from, to := drawAccount(rt, p, "from"), drawAccount(rt, p, "to")
			if from == to {
				to = ledger.Bank(waltz.Partition(p))
			}
			logs[p] = append(logs[p], record(waltz.Partition(p), waltz.ID(len(logs[p])), movement(ledger.KindTransfer, from, to, 10, from, to)))
		}
		for _, db := range []*sql.DB{one, split} {
			for _, table := range []string{"account", "entry", "posting", "crossing"} {
				_, err := db.Exec("DELETE FROM " + table)
				require.NoError(rt, err)
			}
		}
		apply(t, one, logs[0]...)
		apply(t, one, logs[1]...)
		for len(logs[0])+len(logs[1]) > 0 {
			p := rapid.IntRange(0, 1).Draw(rt, "partition")
			n := rapid.IntRange(0, len(logs[p])).Draw(rt, "batch")
			apply(t, split, logs[p][:n]...)
			logs[p] = logs[p][n:]
		}
		differences, err := view.Compare(context.Background(), view.FromDB(split), view.FromDB(one))
		require.NoError(rt, err)
		require.Empty(rt, differences)
	})
}

func drawAccount(rt *rapid.T, p int, label string) ledger.Account {
	return ledger.Account(2*rapid.IntRange(1, 4).Draw(rt, label) + p)
}

func TestCompareNamesTheRow(t *testing.T) {
	got, want := open(t), open(t)
	for _, db := range []*sql.DB{got, want} {
		apply(t, db, record(0, 0, movement(ledger.KindTransfer, -1, 4, 100, -1, 4)))
	}
	_, err := got.Exec(`UPDATE account SET balance_minor = 99 WHERE account_id = 4`)
	require.NoError(t, err)
	_, err = got.Exec(`DELETE FROM entry`)
	require.NoError(t, err)
	differences, err := view.Compare(t.Context(), view.FromDB(got), view.FromDB(want))
	require.NoError(t, err)
	require.Len(t, differences, 2)
	require.Contains(t, differences[0], "table account: row 2")
	require.Contains(t, differences[0], "balance_minor=99")
	require.Contains(t, differences[1], "row 1 is none, a replay of the log has (partition_no=0")
}
