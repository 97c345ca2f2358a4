package view_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/waltz"
)

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

func balances(t testing.TB, q view.Querier, asOf ledger.Date) (lines []string) {
	add := func(b view.Balance) error {
		lines = append(lines, fmt.Sprint(b.Account, " ", b.Transactions, " ", b.BalanceMinor))
		return nil
	}
	if asOf == "" {
		require.NoError(t, view.Balances(t.Context(), q, add))
	} else {
		require.NoError(t, view.BalancesAsOf(t.Context(), q, asOf, add))
	}
	return lines
}

func TestBalancesAndSums(t *testing.T) {
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		s := open(t, address(t))
		early, late := movement(ledger.KindTransfer, -1, 4, 100, -1, 4), movement(ledger.KindTransfer, 4, 2, 30, 4, 2)
		late.BookedOn = "2026-02-01"
		s.apply(t, record(0, 0, early), record(0, 1, late))
		require.Equal(t, []string{"2 1 30", "4 2 70"}, balances(t, s.Ask(), ""))
		require.Equal(t, []string{"4 1 100"}, balances(t, s.Ask(), "2026-01-31"))
		require.Empty(t, balances(t, s.Ask(), "2026-01-01"))

		s.apply(t, record(0, 2, movement(ledger.KindOut, 4, 3, 20, 4, -2)))
		highest, err := view.HighestAccount(t.Context(), s.Ask())
		require.NoError(t, err)
		require.Equal(t, ledger.Account(4), highest)
		s.read(t, func(ctx context.Context, snapshot view.Snapshot) {
			sums, err := view.ReadSums(ctx, snapshot.Querier)
			require.NoError(t, err)
			require.Equal(t, view.Sums{TransitMinor: 20, PendingMinor: 20}, sums)
			returned, err := view.CountReturned(ctx, snapshot.Querier)
			require.NoError(t, err)
			require.Zero(t, returned)
			require.Equal(t, []string{"2 1 30", "4 3 50"}, balances(t, snapshot.Querier, ""))
		})
	})
}

func TestStatement(t *testing.T) {
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		s := open(t, address(t))
		s.apply(t,
			record(0, 0, movement(ledger.KindTransfer, -1, 4, 100, -1, 4)),
			record(0, 1, movement(ledger.KindOut, 4, 3, 30, 4, -2)))
		want := []view.Line{
			{ID: 0, BookedOn: "2026-01-02", Kind: ledger.KindTransfer, Type: "T", Counterparty: -1, AmountMinor: 100, BalanceMinor: 100},
			{ID: 1, BookedOn: "2026-01-02", Kind: ledger.KindOut, Type: "T", Counterparty: 3, AmountMinor: -30, BalanceMinor: 70, Status: "pending"},
		}
		s.read(t, func(ctx context.Context, snapshot view.Snapshot) {
			page := func(p view.Page) (lines []view.Line) {
				require.NoError(t, view.Statement(ctx, snapshot.Querier, 4, p, func(l view.Line) error { lines = append(lines, l); return nil }))
				return lines
			}
			require.Equal(t, want, page(view.WholeStatement()))
			require.Equal(t, want[:1], page(view.Page{After: waltz.None, Lines: 1}))
			require.Equal(t, want[1:], page(view.Page{After: 0, BalanceMinor: 100, Lines: 5}))
		})
	})
}

func TestFind(t *testing.T) {
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		s := open(t, address(t))
		first := record(1, 0, movement(ledger.KindTransfer, -3, 4, 100, -3, 4))
		first.Key = `k'"\1`
		refused := record(0, 0, ledger.Entry{Kind: ledger.KindRefused, BookedOn: "2026-01-02", AmountMinor: 30, From: 4, To: 8, Reason: "no", Origin: &ledger.Origin{Partition: 1, ID: 1}})
		closed := ledger.Entry{Kind: ledger.KindClosed, Account: 4, BookedOn: "2026-01-03"}
		s.apply(t, first, record(1, 1, movement(ledger.KindOut, 4, 8, 30, 4, -4)), record(1, 2, closed))
		s.apply(t, refused)
		s.read(t, func(ctx context.Context, snapshot view.Snapshot) {
			id, found, err := s.Key(ctx, snapshot, 1, first.Key)
			require.NoError(t, err)
			require.True(t, found)
			require.Zero(t, id)

			a, known, err := view.FindAccount(ctx, snapshot.Querier, 4)
			require.NoError(t, err)
			require.True(t, known)
			require.Equal(t, view.Account{OpenedOn: "2026-01-02", ClosedOn: "2026-01-03", BalanceMinor: 70, Transactions: 2}, a)
			_, known, err = view.FindAccount(ctx, snapshot.Querier, 5)
			require.NoError(t, err)
			require.False(t, known)

			b, found, err := view.FindBooked(ctx, snapshot.Querier, 1, 1)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, view.Booked{Kind: ledger.KindOut, From: 4, To: 8, AmountMinor: 30, Type: "T", BookedOn: "2026-01-02", Status: ledger.Refused, Reason: "no"}, b)
			b, found, err = view.FindBooked(ctx, snapshot.Querier, 1, 0)
			require.NoError(t, err)
			require.True(t, found)
			require.Empty(t, b.Status)
			_, found, err = view.FindBooked(ctx, snapshot.Querier, 1, 9)
			require.NoError(t, err)
			require.False(t, found)
		})
		pending, err := s.HasPending(t.Context())
		require.NoError(t, err)
		require.False(t, pending)
	})
}

// A replay may see the partitions in another order than they were written in, and
// steps in one batch.
func TestCrossingWhicheverPartitionComesFirst(t *testing.T) {
	type step struct {
		kind ledger.Kind
		want ledger.Status
	}
	out, in, refused, returned := ledger.KindOut, ledger.KindIn, ledger.KindRefused, ledger.KindReturned
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		s := open(t, address(t))
		next := [partitions]waltz.ID{}
		for _, steps := range [][]step{
			{{out, ledger.Pending}, {in, ledger.Credited}},
			{{in, ""}, {out, ledger.Credited}},
			{{out, ledger.Pending}, {refused, ledger.Refused}, {returned, ledger.Returned}},
			{{refused, ""}, {out, ledger.Refused}, {returned, ledger.Returned}},
			{{out, ledger.Pending}, {returned, ledger.Returned}, {refused, ledger.Returned}},
		} {
			origin := ledger.Origin{Partition: 0, ID: next[0]}
			for _, step := range steps {
				e := movement(step.kind, 4, 3, 30, 4, -2)
				p := waltz.Partition(0)
				if step.kind == in || step.kind == refused {
					p, e.Postings[0].Account, e.Postings[1].Account = 1, -4, 3
				}
				if step.kind == refused {
					e.Postings, e.Reason = []ledger.Posting{}, "no"
				}
				if step.kind != out {
					e.Origin = &origin
				}
				s.apply(t, record(p, next[p], e))
				next[p]++
				s.read(t, func(ctx context.Context, snapshot view.Snapshot) {
					books := view.NewBooks(snapshot)
					c, found, err := books.Crossing(ctx, origin)
					require.NoError(t, err)
					require.Equal(t, step.want != "", found)
					require.Equal(t, step.want, c.Status)
					pending, err := books.Pending(ctx, 0, origin.ID-1, 10)
					require.NoError(t, err)
					require.Equal(t, step.want == ledger.Pending || step.want == ledger.Refused, len(pending) == 1)
					is, err := books.PendingFrom(ctx, 4)
					require.NoError(t, err)
					require.Equal(t, len(pending) == 1, is)
				})
			}
		}
		o := ledger.Origin{Partition: 0, ID: next[0]}
		back := movement(returned, 4, 3, 30, -2, 4)
		back.Origin = &o
		s.apply(t, record(0, next[0], movement(out, 4, 3, 30, 4, -2)), record(0, next[0]+1, back))
		s.read(t, func(ctx context.Context, snapshot view.Snapshot) {
			c, _, err := view.NewBooks(snapshot).Crossing(ctx, o)
			require.NoError(t, err)
			require.Equal(t, ledger.Returned, c.Status)
		})
	})
}

func TestStanding(t *testing.T) {
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		s := open(t, address(t))
		standing := func() (found ledger.Standing) {
			s.read(t, func(ctx context.Context, snapshot view.Snapshot) {
				var err error
				found, err = view.NewBooks(snapshot).Standing(ctx, 4)
				require.NoError(t, err)
			})
			return found
		}
		require.Equal(t, ledger.Standing{}, standing())
		s.apply(t, record(0, 0, ledger.Entry{Kind: ledger.KindOpened, Account: 4, BookedOn: "2026-01-02"}))
		require.Equal(t, ledger.Standing{Known: true}, standing())
		s.apply(t, record(0, 1, ledger.Entry{Kind: ledger.KindClosed, Account: 4, BookedOn: "2026-01-03"}))
		require.Equal(t, ledger.Standing{Known: true, Closed: true}, standing())
		s.read(t, func(ctx context.Context, snapshot view.Snapshot) {
			sender, receiver, err := view.NewBooks(snapshot).Parties(ctx, 6, 4)
			require.NoError(t, err)
			require.Equal(t, ledger.Standing{}, sender)
			require.Equal(t, ledger.Standing{Known: true, Closed: true}, receiver)
		})
	})
}

// However the log is cut into batches, and however partitions take turns, the
// tables come out the same, in every database.
func TestTablesDoNotDependOnBatches(t *testing.T) {
	one := open(t, sqliteAddress(t))
	others := []*shown{open(t, sqliteAddress(t)), open(t, servers.PostgreSQL(t).NewDatabase(t)), open(t, servers.MariaDB(t).NewDatabase(t))}
	next := [partitions]waltz.ID{}
	rapid.Check(t, func(rt *rapid.T) {
		var logs [partitions][]waltz.Record[ledger.Entry]
		for i := range rapid.IntRange(1, 30).Draw(rt, "entries") {
			p := i % 2
			r := record(waltz.Partition(p), next[p], drawEntry(rt, waltz.Partition(p), next))
			next[p]++
			r.Key = fmt.Sprintf("key-%d-%d", p, r.ID)
			logs[p] = append(logs[p], r)
		}
		one.apply(t, logs[0]...)
		one.apply(t, logs[1]...)
		for len(logs[0])+len(logs[1]) > 0 {
			p := rapid.IntRange(0, 1).Draw(rt, "partition")
			n := rapid.IntRange(0, len(logs[p])).Draw(rt, "batch")
			for _, s := range others {
				s.begin(t, logs[p][:n]...)
			}
			for _, s := range others {
				s.end(t, logs[p][:n]...)
			}
			logs[p] = logs[p][n:]
		}
	})
	for _, s := range others {
		differences, err := view.Compare(t.Context(), s.Ask(), one.Ask())
		require.NoError(t, err)
		require.Empty(t, differences)
	}
}

func drawEntry(rt *rapid.T, p waltz.Partition, next [partitions]waltz.ID) ledger.Entry {
	from, to := drawAccount(rt, p, "from"), drawAccount(rt, p, "to")
	if from == to {
		to = ledger.Bank(p)
	}
	kind := rapid.SampledFrom([]ledger.Kind{
		ledger.KindTransfer, ledger.KindTransfer, ledger.KindOut, ledger.KindIn, ledger.KindRefused, ledger.KindReturned, ledger.KindOpened, ledger.KindClosed,
	}).Draw(rt, "kind")
	e := movement(kind, from, to, rapid.Int64Range(1, 100).Draw(rt, "amount"), from, to)
	e.BookedOn = ledger.Date(fmt.Sprintf("2026-01-%02d", rapid.IntRange(1, 28).Draw(rt, "day")))
	switch kind {
	case ledger.KindIn, ledger.KindRefused, ledger.KindReturned:
		origin := rapid.IntRange(0, 1).Draw(rt, "origin")
		e.Origin = &ledger.Origin{Partition: waltz.Partition(origin), ID: next[origin] - next[origin]%4}
		e.From, e.To, e.AmountMinor, e.BookedOn, e.Reason = 2, 3, 7, "2026-01-05", rapid.SampledFrom([]string{"", "a", "b"}).Draw(rt, "reason")
	case ledger.KindOut:
		e.From, e.To, e.AmountMinor, e.BookedOn = 2, 3, 7, "2026-01-05"
	case ledger.KindOpened, ledger.KindClosed:
		e.Account, e.Postings = from, []ledger.Posting{}
		if kind == ledger.KindClosed {
			e.BookedOn = "2026-01-29"
		}
	case ledger.KindTransfer:
	}
	return e
}

func drawAccount(rt *rapid.T, p waltz.Partition, label string) ledger.Account {
	return ledger.Account(2*rapid.IntRange(1, 4).Draw(rt, label) + int(p))
}

func TestCompareNamesTheRow(t *testing.T) {
	got, want := open(t, sqliteAddress(t)), open(t, sqliteAddress(t))
	got.apply(t, record(0, 0, movement(ledger.KindTransfer, -1, 4, 99, -1, 4)))
	want.apply(t, record(0, 0, movement(ledger.KindTransfer, -1, 4, 100, -1, 4)), record(0, 1, ledger.Entry{Kind: ledger.KindOpened, Account: 6, BookedOn: "2026-01-02"}))
	differences, err := view.Compare(t.Context(), got.Ask(), want.Ask())
	require.NoError(t, err)
	require.Len(t, differences, 3)
	require.Contains(t, differences[0], "table account: row 1")
	require.Contains(t, differences[0], "balance_minor=-99")
	require.Contains(t, differences[1], "amount_minor=99")
}

// Processes that start at once from an empty database all find their tables.
func TestManyOpenAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		db, err := view.ParseDatabase(address(t))
		require.NoError(t, err)
		require.ErrorIs(t, db.Exists(t.Context()), view.ErrNoView)
		var opened sync.WaitGroup
		errs := make([]error, 4)
		for i := range errs {
			opened.Go(func() {
				var v view.View
				if v, errs[i] = db.Open(t.Context(), newLog(), applier.Options{}); errs[i] == nil {
					errs[i] = v.Close()
				}
			})
		}
		opened.Wait()
		require.NoError(t, errors.Join(errs...))
		require.NoError(t, db.Exists(t.Context()))
	})
}

func TestParseDatabase(t *testing.T) {
	for _, good := range []string{"sqlite:///tmp/view.db", "postgres://u:p@127.0.0.1:5432/db", "mysql://u:p@127.0.0.1:3306/db"} {
		_, err := view.ParseDatabase(good)
		require.NoError(t, err, good)
	}
	for _, bad := range []string{"", "view.db", "sqlite:/tmp/view.db", "oracle://x/y", "postgres://%zz", "mysql://u@h:1/db?multiStatements=true"} {
		_, err := view.ParseDatabase(bad)
		require.Error(t, err, bad)
	}
	_, err := view.ParseDatabase("oracle://x/y")
	for _, form := range view.Forms() {
		require.ErrorContains(t, err, form)
	}
}
