package main

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/waltz"
)

const (
	benchEntries  = 50_000
	benchAccounts = 1_000
	benchBatch    = 5_000
)

// memoryLog is a log of one partition that is all there already.
type memoryLog []waltz.Committed

func (l memoryLog) LogID() string   { return "bench" }
func (l memoryLog) Partitions() int { return 1 }
func (l memoryLog) HighWaterMark(context.Context, waltz.Partition) (waltz.ID, error) {
	return waltz.ID(len(l)) - 1, nil
}

func (l memoryLog) Subscribe(_ context.Context, o waltz.SubscribeOptions) (applier.Feed, error) {
	return &memoryFeed{l, int(o.HighWaterMark) + 1}, nil
}

type memoryFeed struct {
	log  memoryLog
	next int
}

func (f *memoryFeed) Next(ctx context.Context, n int) (waltz.Batch, error) {
	if f.next == len(f.log) {
		<-ctx.Done()
		return waltz.Batch{}, ctx.Err()
	}
	batch := f.log[f.next:min(f.next+n, len(f.log))]
	f.next += len(batch)
	return waltz.Batch{Transactions: batch, HighWaterMark: waltz.ID(f.next) - 1, Committed: waltz.ID(len(f.log)) - 1}, nil
}

func (f *memoryFeed) Close() error { return nil }

// newMemoryLog makes keyed transfers between accounts.
func newMemoryLog(b *testing.B) (log memoryLog) {
	for i := range benchEntries {
		from, to := ledger.Account(i%benchAccounts+1), ledger.Account((i*7+3)%benchAccounts+1)
		if from == to {
			to = -1
		}
		data, err := ledger.Codec{}.Encode(ledger.Entry{
			Kind: ledger.KindTransfer, Type: "TRANSFER", BookedOn: "2026-01-02", AmountMinor: 100, From: from, To: to,
			Postings: []ledger.Posting{
				{Account: from, Currency: ledger.Currency, Side: ledger.Debit, AmountMinor: 100},
				{Account: to, Currency: ledger.Currency, Side: ledger.Credit, AmountMinor: 100},
			},
		})
		require.NoError(b, err)
		log = append(log, waltz.Committed{ID: waltz.ID(i), Header: ledger.HeaderPosted, Key: fmt.Sprint("transfer:", i), Data: data, DataLen: len(data)})
	}
	return log
}

// BenchmarkApply compares the view with SQL written by hand for the same tables,
// in batches of the same size, fed from the same log in the same run: row by row,
// and set-based with rows of a hundred and balances aggregated. The ratios are of
// the view's rate to theirs.
func BenchmarkApply(b *testing.B) {
	log := newMemoryLog(b)
	var byView, byRows, bySets time.Duration
	for b.Loop() {
		byView += timed(b, func(file string) { applyView(b, log, file) })
		byRows += timed(b, func(file string) { applyByHand(b, log, file, (*byHand).rows) })
		bySets += timed(b, func(file string) { applyByHand(b, log, file, (*byHand).sets) })
	}
	rate := func(d time.Duration) float64 { return float64(b.N) * benchEntries / d.Seconds() }
	b.ReportMetric(rate(byView), "view-tx/s")
	b.ReportMetric(rate(byRows), "hand-rows-tx/s")
	b.ReportMetric(rate(bySets), "hand-sets-tx/s")
	b.ReportMetric(rate(byView)/rate(byRows), "view/hand-rows")
	b.ReportMetric(rate(byView)/rate(bySets), "view/hand-sets")
}

// timed is how long apply takes on a new file with the ledger's tables.
func timed(b *testing.B, apply func(file string)) time.Duration {
	file := filepath.Join(b.TempDir(), "view.db")
	v := openView(b, memoryLog{}, file)
	require.NoError(b, v.Close())
	began := time.Now()
	apply(file)
	return time.Since(began)
}

func openView(b *testing.B, log memoryLog, file string) view.View {
	db, err := view.ParseDatabase("sqlite://" + file)
	require.NoError(b, err)
	v, err := db.Open(b.Context(), log, applier.Options{BatchTransactionsMax: benchBatch})
	require.NoError(b, err)
	return v
}

func applyView(b *testing.B, log memoryLog, file string) {
	v := openView(b, log, file)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	require.NoError(b, v.WaitFor(ctx, 0, waltz.ID(len(log))-1))
	cancel()
	require.NoError(b, <-done)
	require.NoError(b, v.Close())
}

// byHand is SQL as one would write it for these tables alone, with statements
// prepared once for each database transaction.
type byHand struct {
	b                                                           *testing.B
	mark, key, entry, posting, account, keys, entries, postings *sql.Stmt
}

// handRows is how many rows a multi-row insert has.
const handRows = 100

func applyByHand(b *testing.B, log memoryLog, file string, apply func(*byHand, memoryLog)) {
	db, err := sqlite.OpenDB(file)
	require.NoError(b, err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE mark (partition_no INTEGER PRIMARY KEY, high_water_mark INTEGER NOT NULL) STRICT;
CREATE TABLE key (partition_no INTEGER NOT NULL, key TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (partition_no, key)) STRICT, WITHOUT ROWID;
INSERT INTO mark VALUES (0, -1)`)
	require.NoError(b, err)
	for batch := log; len(batch) > 0; {
		n := min(benchBatch, len(batch))
		tx, err := db.Begin()
		require.NoError(b, err)
		h := newByHand(b, tx)
		h.exec(h.mark, int64(batch[n-1].ID), int64(batch[0].ID)-1)
		apply(h, batch[:n])
		require.NoError(b, tx.Commit())
		batch = batch[n:]
	}
	require.NoError(b, db.Close())
}

func newByHand(b *testing.B, tx *sql.Tx) *byHand {
	prepare := func(query string) *sql.Stmt {
		s, err := tx.Prepare(query)
		require.NoError(b, err)
		return s
	}
	many := func(into, row string) *sql.Stmt {
		return prepare("INSERT INTO " + into + " VALUES " + row + strings.Repeat(","+row, handRows-1))
	}
	return &byHand{
		b:       b,
		mark:    prepare(`UPDATE mark SET high_water_mark = ? WHERE partition_no = 0 AND high_water_mark = ?`),
		key:     prepare(`INSERT INTO key VALUES (0, ?, ?)`),
		entry:   prepare(`INSERT INTO entry VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?)`),
		posting: prepare(`INSERT INTO posting VALUES (?, ?, ?, ?)`),
		account: prepare(`INSERT INTO account VALUES (?, 0, ?, NULL, ?, ?) ON CONFLICT (account_id) DO UPDATE SET
balance_minor = balance_minor + excluded.balance_minor, transactions = transactions + excluded.transactions`),
		keys:     many("key", "(0,?,?)"),
		entries:  many("entry", "(0,?,?,?,?,?,?,?,?)"),
		postings: many("posting", "(?,?,?,?)"),
	}
}

func (h *byHand) decode(c waltz.Committed) (e ledger.Entry) {
	require.NoError(h.b, ledger.Codec{}.Decode(c.Data, &e))
	return e
}

func keyRow(c waltz.Committed) []any { return []any{c.Key, int64(c.ID)} }

func entryRow(c waltz.Committed, e *ledger.Entry) []any {
	return []any{int64(c.ID), string(e.Kind), e.Type, string(e.BookedOn), e.AmountMinor, int64(e.From), int64(e.To), int64(0)}
}

func postingRow(c waltz.Committed, e *ledger.Entry, p ledger.Posting) []any {
	return []any{int64(p.Account), int64(c.ID), string(e.BookedOn), p.Signed()}
}

// rows applies statement by statement.
func (h *byHand) rows(batch memoryLog) {
	for _, c := range batch {
		e := h.decode(c)
		h.exec(h.key, keyRow(c)...)
		h.exec(h.entry, entryRow(c, &e)...)
		for _, p := range e.Postings {
			h.exec(h.posting, postingRow(c, &e, p)...)
			h.exec(h.account, int64(p.Account), string(e.BookedOn), p.Signed(), int64(1))
		}
	}
}

// sets applies a batch with multi-row inserts, and each account once.
func (h *byHand) sets(batch memoryLog) {
	type sum struct {
		opened  string
		balance int64
		count   int64
	}
	var keys, entries, postings []any
	sums := map[ledger.Account]*sum{}
	for _, c := range batch {
		e := h.decode(c)
		keys = append(keys, keyRow(c)...)
		entries = append(entries, entryRow(c, &e)...)
		for _, p := range e.Postings {
			postings = append(postings, postingRow(c, &e, p)...)
			s := sums[p.Account]
			if s == nil {
				s = &sum{opened: string(e.BookedOn)}
				sums[p.Account] = s
			}
			s.balance += p.Signed()
			s.count++
		}
	}
	h.insert(h.keys, h.key, 2, keys)
	h.insert(h.entries, h.entry, 8, entries)
	h.insert(h.postings, h.posting, 4, postings)
	for _, account := range slices.Sorted(maps.Keys(sums)) {
		s := sums[account]
		h.exec(h.account, int64(account), s.opened, s.balance, s.count)
	}
}

// insert writes rows of the given width, a hundred at a time and the rest singly.
func (h *byHand) insert(many, one *sql.Stmt, width int, args []any) {
	for ; len(args) >= width*handRows; args = args[width*handRows:] {
		h.exec(many, args[:width*handRows]...)
	}
	for ; len(args) > 0; args = args[width:] {
		h.exec(one, args[:width]...)
	}
}

func (h *byHand) exec(s *sql.Stmt, args ...any) {
	if _, err := s.Exec(args...); err != nil {
		require.NoError(h.b, err)
	}
}
