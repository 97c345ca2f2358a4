package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

// The work of BASELINES.md §4: an entry and a balance for each transaction.
const (
	benchTables = `
		DROP TABLE IF EXISTS entries, balances, high_water_mark, keys;
		CREATE TABLE entries (partition int, txid bigint, account int NOT NULL, amount bigint NOT NULL, memo text NOT NULL, PRIMARY KEY (partition, txid));
		CREATE TABLE balances (account int PRIMARY KEY, balance bigint NOT NULL);
		CREATE TABLE high_water_mark (partition int PRIMARY KEY, txid bigint NOT NULL);
		CREATE TABLE keys (business_key bytea PRIMARY KEY, txid bigint NOT NULL);
		INSERT INTO high_water_mark SELECT i, -1 FROM generate_series(0, 3) i`
	benchEntry    = "INSERT INTO entries VALUES ($1, $2, $3, $4, $5)"
	benchBalance  = "INSERT INTO balances VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance"
	benchMark     = "UPDATE high_water_mark SET txid = $2 WHERE partition = $1"
	benchKey      = "INSERT INTO keys VALUES ($1, $2)"
	benchKeys     = "INSERT INTO keys SELECT * FROM unnest($1::bytea[], $2::bigint[])"
	benchEntries  = "INSERT INTO entries SELECT $1::int, * FROM unnest($2::bigint[], $3::int[], $4::bigint[], $5::text[])"
	benchBalances = "INSERT INTO balances SELECT * FROM unnest($1::int[], $2::bigint[]) ON CONFLICT (account) DO UPDATE SET balance = balances.balance + excluded.balance"
)

type benchEvent struct {
	account int32
	amount  int64
	memo    string
}

type benchCodec struct{}

func (benchCodec) Encode(e benchEvent) ([]byte, error) {
	b := binary.LittleEndian.AppendUint64(nil, uint64(e.account))
	return append(binary.LittleEndian.AppendUint64(b, uint64(e.amount)), e.memo...), nil
}

func (benchCodec) Decode(data []byte, e *benchEvent) error {
	e.account, e.amount = int32(binary.LittleEndian.Uint64(data)), int64(binary.LittleEndian.Uint64(data[8:]))
	e.memo = string(data[16:])
	return nil
}

var benchKind = waltz.Kind[benchEvent]{Header: 1, Name: "event", Codec: benchCodec{}}

func benchLog(b *testing.B, partitions, n int, keys bool) *appliertest.Log {
	log := appliertest.NewLog("bench", partitions)
	for i := range n {
		p := i % partitions
		tx := waltz.Transaction{}
		require.NoError(b, benchKind.Put(&tx, benchEvent{int32(i*7919%10_000/partitions*partitions + p), int64(i%2000 - 1000), "memo text of a ledger entry. memo text of a ledger entry. memo te"}))
		if keys {
			tx.Key = fmt.Sprintf("transfer:%d", i)
		}
		log.Append(waltz.Partition(p), tx)
	}
	return log
}

// handRun is what a good programmer writes against pgx: one connection for each
// partition, everything of a batch in one pgx.Batch, which is one SQL transaction.
func handRun(b *testing.B, address string, log *appliertest.Log, n, batch int, write func(*pgx.Batch, waltz.Partition, []waltz.Committed)) time.Duration {
	ctx := context.Background()
	var conns []*pgx.Conn
	for range log.Partitions() {
		c, err := pgx.Connect(ctx, address)
		require.NoError(b, err)
		defer c.Close(ctx)
		conns = append(conns, c)
	}
	_, err := conns[0].Exec(ctx, benchTables)
	require.NoError(b, err)
	var wg sync.WaitGroup
	began := time.Now()
	for p, c := range conns {
		wg.Go(func() {
			feed, err := log.Subscribe(ctx, waltz.SubscribeOptions{Partition: waltz.Partition(p), HighWaterMark: waltz.None})
			if err != nil {
				b.Error(err)
				return
			}
			for done := 0; done < n/len(conns); {
				in, err := feed.Next(ctx, batch)
				if err != nil {
					b.Error(err)
					return
				}
				var q pgx.Batch
				write(&q, waltz.Partition(p), in.Transactions)
				q.Queue(benchMark, p, int64(in.HighWaterMark))
				if err := c.SendBatch(ctx, &q).Close(); err != nil {
					b.Error(err)
					return
				}
				done += len(in.Transactions)
			}
		})
	}
	wg.Wait()
	return time.Since(began)
}

func handRecords(b *testing.B) func(*pgx.Batch, waltz.Partition, []waltz.Committed) {
	return func(q *pgx.Batch, p waltz.Partition, in []waltz.Committed) {
		for _, c := range in {
			r, err := benchKind.Decode(c)
			if err != nil {
				b.Error(err)
			}
			q.Queue(benchEntry, int(p), int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo)
			q.Queue(benchBalance, r.Value.account, r.Value.amount)
			if c.Key != "" {
				q.Queue(benchKey, []byte(c.Key), int64(c.ID))
			}
		}
	}
}

func handBatches(b *testing.B) func(*pgx.Batch, waltz.Partition, []waltz.Committed) {
	return func(q *pgx.Batch, p waltz.Partition, in []waltz.Committed) {
		ids, accounts, amounts, memos := make([]int64, len(in)), make([]int32, len(in)), make([]int64, len(in)), make([]string, len(in))
		totals := map[int32]int64{}
		var keys [][]byte
		for i, c := range in {
			r, err := benchKind.Decode(c)
			if err != nil {
				b.Error(err)
			}
			ids[i], accounts[i], amounts[i], memos[i] = int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo
			totals[r.Value.account] += r.Value.amount
			if c.Key != "" {
				keys = append(keys, []byte(c.Key))
			}
		}
		q.Queue(benchEntries, int(p), ids, accounts, amounts, memos)
		sorted := slices.Sorted(maps.Keys(totals))
		sums := make([]int64, len(sorted))
		for i, a := range sorted {
			sums[i] = totals[a]
		}
		q.Queue(benchBalances, sorted, sums)
		if keys != nil {
			q.Queue(benchKeys, keys, ids)
		}
	}
}

// oneByOne is the handler for single records.
func oneByOne(ctx context.Context, tx *Tx, r waltz.Record[benchEvent]) error {
	if err := tx.Queue(ctx, benchEntry, int(r.Partition), int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo); err != nil {
		return err
	}
	return tx.Queue(ctx, benchBalance, r.Value.account, r.Value.amount)
}

type benchRow struct {
	ID      int64
	Account int32
	Amount  int64
	Memo    string
}

type benchTotal struct {
	Account int32
	Amount  int64
}

// together is the handler for batches, with the helpers.
func together(ctx context.Context, tx *Tx, rs []waltz.Record[benchEvent]) error {
	rows, totals := make([]benchRow, len(rs)), make([]benchTotal, len(rs))
	for i, r := range rs {
		rows[i] = benchRow{int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo}
		totals[i] = benchTotal{r.Value.account, r.Value.amount}
	}
	if err := tx.Queue(ctx, benchEntries, append([]any{int(rs[0].Partition)}, Arrays(rows)...)...); err != nil {
		return err
	}
	totals = Fold(totals, func(t *benchTotal) int32 { return t.Account }, func(total, t *benchTotal) { total.Amount += t.Amount })
	return tx.Queue(ctx, benchBalances, Arrays(totals)...)
}

func applierRun(b *testing.B, address string, log *appliertest.Log, n, batch int, h Handler) time.Duration {
	ctx, cancel := context.WithCancel(context.Background())
	c, err := pgx.Connect(ctx, address)
	require.NoError(b, err)
	_, err = c.Exec(ctx, benchTables+"; DROP TABLE IF EXISTS waltz_high_water_marks, waltz_keys, waltz_dead_letters, waltz_schema_version")
	require.NoError(b, err)
	require.NoError(b, c.Close(ctx))
	view, err := OpenLog(ctx, log, address, applier.Options{Name: "bench", BatchTransactionsMax: batch}, h)
	require.NoError(b, err)
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- view.Run(ctx) }()
	for p := range log.Partitions() {
		require.NoError(b, view.WaitFor(ctx, waltz.Partition(p), waltz.ID(n/log.Partitions()-1)))
	}
	took := time.Since(began)
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, view.Close())
	return took
}

// BenchmarkApply compares handlers with hand-written pgx for the same tables, fed from
// the same log, in turns; the figures are those of the fastest turn of each.
func BenchmarkApply(b *testing.B) {
	type way struct {
		name    string
		hand    func(*testing.B) func(*pgx.Batch, waltz.Partition, []waltz.Committed)
		handler Handler
	}
	for _, w := range []way{
		{"record", handRecords, applier.On(benchKind, oneByOne)},
		{"batch", handBatches, applier.OnBatch(benchKind, together)},
	} {
		for _, partitions := range []int{1, 4} {
			for _, batch := range []int{1, 100, 1000, 5000} {
				for _, keys := range []bool{false, true} {
					name := fmt.Sprintf("handler=%s/partitions=%d/batch=%d/keys=%t", w.name, partitions, batch, keys)
					b.Run(name, func(b *testing.B) {
						count := min(100_000, 1000*batch)
						log := benchLog(b, partitions, count, keys)
						pg := servers.PostgreSQL(b)
						hand, ours := time.Hour, time.Hour
						for b.Loop() {
							hand = min(hand, handRun(b, pg.NewDatabase(b), log, count, batch, w.hand(b)))
							ours = min(ours, applierRun(b, pg.NewDatabase(b), log, count, batch, w.handler))
						}
						b.ReportMetric(float64(count)/hand.Seconds(), "hand_tx/s")
						b.ReportMetric(float64(count)/ours.Seconds(), "tx/s")
						b.ReportMetric(hand.Seconds()/ours.Seconds(), "ratio")
					})
				}
			}
		}
	}
}

// BenchmarkRoundTrips is why COMMIT goes out alone: what one transaction costs when BEGIN,
// a compare-and-set, two writes and COMMIT are sent together, and when COMMIT waits for
// the answers.
func BenchmarkRoundTrips(b *testing.B) {
	ctx := context.Background()
	c, err := pgx.Connect(ctx, servers.PostgreSQL(b).NewDatabase(b))
	require.NoError(b, err)
	defer c.Close(ctx)
	_, err = c.Exec(ctx, benchTables)
	require.NoError(b, err)
	id := 0
	once := func(together bool) time.Duration {
		var q pgx.Batch
		q.Queue("BEGIN")
		q.Queue(benchMark, 0, id)
		q.Queue(benchEntry, 0, id, id, id, "memo")
		q.Queue(benchBalance, id%1000, id)
		if together {
			q.Queue("COMMIT")
		}
		id++
		began := time.Now()
		require.NoError(b, c.SendBatch(ctx, &q).Close())
		if !together {
			_, err := c.Exec(ctx, "COMMIT")
			require.NoError(b, err)
		}
		return time.Since(began)
	}
	var one, two []time.Duration
	for b.Loop() {
		one, two = append(one, once(true)), append(two, once(false))
	}
	slices.Sort(one)
	slices.Sort(two)
	b.ReportMetric(float64(one[len(one)/2].Microseconds()), "one_us")
	b.ReportMetric(float64(two[len(two)/2].Microseconds()), "two_us")
}
