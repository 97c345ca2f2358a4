package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

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
// in batches of the same size, fed from the same log. ns/op is a transaction's.
func BenchmarkApply(b *testing.B) {
	log := newMemoryLog(b)
	b.Run("v=view", func(b *testing.B) { each(b, func(file string) { applyView(b, log, file) }) })
	b.Run("v=hand", func(b *testing.B) { each(b, func(file string) { applyByHand(b, log, file) }) })
}

func each(b *testing.B, apply func(file string)) {
	for b.Loop() {
		b.StopTimer()
		file := filepath.Join(b.TempDir(), "view.db")
		db, err := sqlite.OpenDB(file)
		require.NoError(b, err)
		require.NoError(b, view.Migrate(b.Context(), db))
		require.NoError(b, db.Close())
		b.StartTimer()
		apply(file)
	}
	b.ReportMetric(float64(b.N)*benchEntries/b.Elapsed().Seconds(), "tx/s")
}

func applyView(b *testing.B, log memoryLog, file string) {
	v, err := sqlite.OpenLog(b.Context(), log, file, applier.Options{Name: "ledger", BatchTransactionsMax: benchBatch}, handlers()...)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	require.NoError(b, v.WaitFor(ctx, 0, waltz.ID(len(log))-1))
	cancel()
	require.NoError(b, <-done)
	require.NoError(b, v.Close())
}

// byHand writes the rows as they come, with statements prepared once.
type byHand struct {
	b                                *testing.B
	mark, key, entry, posting, accnt *sql.Stmt
}

func applyByHand(b *testing.B, log memoryLog, file string) {
	db, err := sqlite.OpenDB(file)
	require.NoError(b, err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec(`CREATE TABLE mark (partition_no INTEGER PRIMARY KEY, high_water_mark INTEGER NOT NULL) STRICT;
CREATE TABLE key (partition_no INTEGER NOT NULL, key TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (partition_no, key)) STRICT, WITHOUT ROWID;
INSERT INTO mark VALUES (0, -1)`)
	require.NoError(b, err)
	for batch := log; len(batch) > 0; {
		n := min(benchBatch, len(batch))
		applyBatchByHand(b, db, batch[:n])
		batch = batch[n:]
	}
	require.NoError(b, db.Close())
}

func applyBatchByHand(b *testing.B, db *sql.DB, batch memoryLog) {
	tx, err := db.Begin()
	require.NoError(b, err)
	prepare := func(query string) *sql.Stmt {
		s, err := tx.Prepare(query)
		require.NoError(b, err)
		return s
	}
	h := byHand{
		b, prepare(`UPDATE mark SET high_water_mark = ? WHERE partition_no = 0 AND high_water_mark = ?`),
		prepare(`INSERT INTO key VALUES (0, ?, ?)`),
		prepare(`INSERT INTO entry VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?)`),
		prepare(`INSERT INTO posting VALUES (?, ?, ?, ?)`),
		prepare(`INSERT INTO account VALUES (?, 0, ?, NULL, ?, 1) ON CONFLICT (account_id) DO UPDATE SET
balance_minor = balance_minor + excluded.balance_minor, transactions = transactions + 1`),
	}
	h.exec(h.mark, int64(batch[len(batch)-1].ID), int64(batch[0].ID)-1)
	for _, c := range batch {
		h.one(c)
	}
	require.NoError(b, tx.Commit())
}

func (h *byHand) one(c waltz.Committed) {
	var e ledger.Entry
	require.NoError(h.b, ledger.Codec{}.Decode(c.Data, &e))
	h.exec(h.key, c.Key, int64(c.ID))
	h.exec(h.entry, int64(c.ID), string(e.Kind), e.Type, string(e.BookedOn), e.AmountMinor, int64(e.From), int64(e.To), int64(0))
	for _, p := range e.Postings {
		h.exec(h.posting, int64(p.Account), int64(c.ID), string(e.BookedOn), p.Signed())
		h.exec(h.accnt, int64(p.Account), string(e.BookedOn), p.Signed())
	}
}

func (h *byHand) exec(s *sql.Stmt, args ...any) {
	if _, err := s.Exec(args...); err != nil {
		require.NoError(h.b, err)
	}
}
