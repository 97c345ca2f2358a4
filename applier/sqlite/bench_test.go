package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

// The work of BASELINES.md §4: an entry and a balance for each transaction.
const (
	benchTables = `
		CREATE TABLE IF NOT EXISTS entries (part int, txid bigint, account int NOT NULL, amount bigint NOT NULL, memo text NOT NULL, PRIMARY KEY (part, txid)) WITHOUT ROWID;
		CREATE TABLE IF NOT EXISTS balances (account integer PRIMARY KEY, balance bigint NOT NULL);
		CREATE TABLE IF NOT EXISTS high_water_mark (part integer PRIMARY KEY, txid bigint NOT NULL);
		INSERT INTO high_water_mark VALUES (0, -1) ON CONFLICT DO NOTHING;`
	benchEntry   = "INSERT INTO entries VALUES (?, ?, ?, ?, ?)"
	benchBalance = "INSERT INTO balances VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET balance = balance + excluded.balance"
)

type benchEvent struct {
	account, amount int64
	memo            string
}

type benchCodec struct{}

func (benchCodec) Encode(e benchEvent) ([]byte, error) {
	b := binary.LittleEndian.AppendUint64(nil, uint64(e.account))
	return append(binary.LittleEndian.AppendUint64(b, uint64(e.amount)), e.memo...), nil
}

func (benchCodec) Decode(data []byte, e *benchEvent) error {
	e.account, e.amount = int64(binary.LittleEndian.Uint64(data)), int64(binary.LittleEndian.Uint64(data[8:]))
	e.memo = string(data[16:])
	return nil
}

var benchKind = waltz.Kind[benchEvent]{Header: 1, Name: "event", Codec: benchCodec{}}

func benchLog(b *testing.B, n int, keys bool) *appliertest.Log {
	log := appliertest.NewLog("bench", 1)
	for i := range n {
		tx := waltz.Transaction{}
		require.NoError(b, benchKind.Put(&tx, benchEvent{int64(i) * 7919 % 10_000, int64(i%2000 - 1000), "memo text of a ledger entry. memo text of a ledger entry. memo te"}))
		if keys {
			tx.Key = fmt.Sprintf("transfer:%d", i)
		}
		log.Append(0, tx)
	}
	return log
}

// byHand is what a good programmer writes against database/sql: prepared
// statements, batches of the same size, the mark in the same transaction.
func byHand(b *testing.B, file string, log *appliertest.Log, n, batch int, keys bool) time.Duration {
	db, err := OpenDB(file)
	require.NoError(b, err)
	defer db.Close()
	_, err = db.Exec(benchTables + "CREATE TABLE IF NOT EXISTS keys (business_key text PRIMARY KEY, txid bigint NOT NULL) WITHOUT ROWID")
	require.NoError(b, err)
	conn, err := db.Conn(b.Context())
	require.NoError(b, err)
	defer conn.Close()
	ctx := context.Background()
	entry, err := conn.PrepareContext(ctx, benchEntry)
	require.NoError(b, err)
	balance, err := conn.PrepareContext(ctx, benchBalance)
	require.NoError(b, err)
	key, err := conn.PrepareContext(ctx, "INSERT INTO keys VALUES (?, ?)")
	require.NoError(b, err)
	mark, err := conn.PrepareContext(ctx, "UPDATE high_water_mark SET txid = ? WHERE part = 0")
	require.NoError(b, err)
	feed, err := log.Subscribe(ctx, waltz.SubscribeOptions{HighWaterMark: waltz.None})
	require.NoError(b, err)
	began := time.Now()
	for done := 0; done < n; {
		in, err := feed.Next(ctx, batch)
		require.NoError(b, err)
		tx, err := conn.BeginTx(ctx, nil)
		require.NoError(b, err)
		entry, balance, key, mark := tx.StmtContext(ctx, entry), tx.StmtContext(ctx, balance), tx.StmtContext(ctx, key), tx.StmtContext(ctx, mark) //nolint:sqlclosecheck // they end with the transaction
		for _, c := range in.Transactions {
			r, err := benchKind.Decode(c)
			if err == nil {
				_, err = entry.ExecContext(ctx, 0, int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo)
			}
			if err == nil {
				_, err = balance.ExecContext(ctx, r.Value.account, r.Value.amount)
			}
			if err == nil && keys {
				_, err = key.ExecContext(ctx, c.Key, int64(c.ID))
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		_, err = mark.ExecContext(ctx, int64(in.HighWaterMark))
		require.NoError(b, err)
		require.NoError(b, tx.Commit())
		done += len(in.Transactions)
	}
	return time.Since(began)
}

func byApplier(b *testing.B, file string, log *appliertest.Log, n, batch int) time.Duration {
	db, err := OpenDB(file)
	require.NoError(b, err)
	_, err = db.Exec(benchTables)
	require.NoError(b, err)
	require.NoError(b, db.Close())
	view, err := OpenLog(b.Context(), log, file, applier.Options{Name: "bench", BatchTransactionsMax: batch},
		applier.On(benchKind, func(ctx context.Context, tx Tx, r waltz.Record[benchEvent]) error {
			if _, err := tx.Exec(ctx, benchEntry, 0, int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, benchBalance, r.Value.account, r.Value.amount)
			return err
		}))
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- view.Run(ctx) }()
	require.NoError(b, view.WaitFor(b.Context(), 0, waltz.ID(n-1)))
	took := time.Since(began)
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, view.Close())
	return took
}

// BenchmarkApply compares per-record handlers with hand-written SQL for the same
// tables, fed from the same log.
func BenchmarkApply(b *testing.B) {
	const n = 100_000
	for _, batch := range []int{1, 100, 1000, 5000} {
		for _, keys := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/keys=%t", batch, keys), func(b *testing.B) {
				count := n
				if batch == 1 {
					count = 5000
				}
				log := benchLog(b, count, keys)
				var hand, ours time.Duration
				for b.Loop() {
					hand += byHand(b, filepath.Join(b.TempDir(), "hand.db"), log, count, batch, keys)
					ours += byApplier(b, filepath.Join(b.TempDir(), "ours.db"), log, count, batch)
				}
				runs := float64(b.N * count)
				b.ReportMetric(runs/hand.Seconds(), "hand_tx/s")
				b.ReportMetric(runs/ours.Seconds(), "tx/s")
				b.ReportMetric(hand.Seconds()/ours.Seconds(), "ratio")
			})
		}
	}
}
