package mysql

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mysql "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

// The work of BASELINES.md §4: an entry and a balance for each transaction.
const (
	benchEntry   = "INSERT INTO entries VALUES (?, ?, ?, ?, ?)"
	benchBalance = "INSERT INTO balances VALUES (?, ?) ON DUPLICATE KEY UPDATE balance = balance + VALUES(balance)"
)

func benchTables(tb testing.TB, db *sql.DB) {
	tb.Helper()
	for _, query := range []string{
		"CREATE TABLE entries (part int, txid bigint, account int NOT NULL, amount bigint NOT NULL, memo varchar(512) NOT NULL, PRIMARY KEY (part, txid))",
		"CREATE TABLE balances (account int PRIMARY KEY, balance bigint NOT NULL)",
		"CREATE TABLE high_water_mark (part int PRIMARY KEY, txid bigint NOT NULL)",
		"CREATE TABLE keys_by_hand (business_key varbinary(255) PRIMARY KEY, txid bigint NOT NULL)",
		"INSERT INTO high_water_mark VALUES (0, -1)",
	} {
		_, err := db.Exec(query)
		require.NoError(tb, err)
	}
}

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

// cpu is the time that this process and the server have computed: unlike the time
// that passes it does not depend on what else the machine does.
func cpu(b *testing.B, url string) time.Duration {
	db, err := OpenDB(url)
	require.NoError(b, err)
	defer db.Close()
	var file string
	require.NoError(b, db.QueryRow("SELECT @@pid_file").Scan(&file))
	pid, err := os.ReadFile(file)
	require.NoError(b, err)
	ticks := 0
	for _, who := range []string{"self", strings.TrimSpace(string(pid))} {
		stat, err := os.ReadFile("/proc/" + who + "/stat")
		require.NoError(b, err)
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')'):]))
		for _, f := range fields[12:14] { // utime, stime
			n, err := strconv.Atoi(f)
			require.NoError(b, err)
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// byHand applies batches as a good programmer would against database/sql.
func byHand(b *testing.B, url string, log *appliertest.Log, n, batch int, apply func(*sql.Conn, []waltz.Record[benchEvent], []string) error) time.Duration {
	a, err := parse(url)
	require.NoError(b, err)
	a.config.MultiStatements = true
	c, err := mysql.NewConnector(a.config)
	require.NoError(b, err)
	db := sql.OpenDB(c)
	defer db.Close()
	conn, err := db.Conn(b.Context())
	require.NoError(b, err)
	defer conn.Close()
	feed, err := log.Subscribe(b.Context(), waltz.SubscribeOptions{HighWaterMark: waltz.None})
	require.NoError(b, err)
	records, keys := make([]waltz.Record[benchEvent], 0, batch), make([]string, 0, batch)
	began := time.Now()
	for done := 0; done < n; {
		in, err := feed.Next(b.Context(), batch)
		require.NoError(b, err)
		records, keys = records[:0], keys[:0]
		for _, c := range in.Transactions {
			r, err := benchKind.Decode(c)
			require.NoError(b, err)
			records = append(records, r)
			if c.Key != "" {
				keys = append(keys, c.Key)
			}
		}
		require.NoError(b, apply(conn, records, keys))
		done += len(records)
	}
	return time.Since(began)
}

// oneByOne sends a statement for each row.
func oneByOne(conn *sql.Conn, rs []waltz.Record[benchEvent], keys []string) error {
	ctx := context.Background()
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for i, r := range rs {
		if _, err := tx.ExecContext(ctx, benchEntry, 0, int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, benchBalance, r.Value.account, r.Value.amount); err != nil {
			return err
		}
		if len(keys) > 0 {
			if _, err := tx.ExecContext(ctx, "INSERT INTO keys_by_hand VALUES (?, ?)", []byte(keys[i]), int64(r.ID)); err != nil {
				return err
			}
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE high_water_mark SET txid = ? WHERE part = 0", int64(rs[len(rs)-1].ID)); err != nil {
		return err
	}
	return tx.Commit()
}

// setBased sends one call with multi-row statements, balances added up.
func setBased(conn *sql.Conn, rs []waltz.Record[benchEvent], keys []string) error {
	sums := make(map[int64]int64, len(rs))
	var q strings.Builder
	args := make([]any, 0, 9*len(rs)+1)
	q.WriteString("START TRANSACTION; INSERT INTO entries VALUES ")
	for i, r := range rs {
		if i > 0 {
			q.WriteByte(',')
		}
		q.WriteString("(?,?,?,?,?)")
		args = append(args, 0, int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo)
		sums[r.Value.account] += r.Value.amount
	}
	accounts := make([]int64, 0, len(sums))
	for a := range sums {
		accounts = append(accounts, a)
	}
	slices.Sort(accounts)
	q.WriteString("; INSERT INTO balances VALUES ")
	for i, a := range accounts {
		if i > 0 {
			q.WriteByte(',')
		}
		q.WriteString("(?,?)")
		args = append(args, a, sums[a])
	}
	q.WriteString(" ON DUPLICATE KEY UPDATE balance = balance + VALUES(balance)")
	if len(keys) > 0 {
		q.WriteString("; INSERT INTO keys_by_hand VALUES ")
		for i, k := range keys {
			if i > 0 {
				q.WriteByte(',')
			}
			q.WriteString("(?,?)")
			args = append(args, []byte(k), int64(rs[i].ID))
		}
	}
	q.WriteString("; UPDATE high_water_mark SET txid = ? WHERE part = 0; COMMIT")
	args = append(args, int64(rs[len(rs)-1].ID))
	_, err := conn.ExecContext(context.Background(), q.String(), args...)
	return err
}

var (
	benchEntries  = Insert{Table: "entries", Columns: []string{"part", "txid", "account", "amount", "memo"}}
	benchBalances = Upsert{Table: "balances", Key: []string{"account"}, Add: []string{"balance"}}
)

func perBatch(ctx context.Context, tx *Tx, rs []waltz.Record[benchEvent]) error {
	entries, balances := benchEntries.For(tx), benchBalances.For(tx)
	for _, r := range rs {
		entries.Add(0, int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo)
		balances.Add(r.Value.account, r.Value.amount)
	}
	if err := entries.Exec(ctx); err != nil {
		return err
	}
	return balances.Exec(ctx)
}

func perRecord(ctx context.Context, tx *Tx, r waltz.Record[benchEvent]) error {
	if _, err := tx.Exec(ctx, benchEntry, 0, int64(r.ID), r.Value.account, r.Value.amount, r.Value.memo); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, benchBalance, r.Value.account, r.Value.amount)
	return err
}

func byApplier(b *testing.B, url string, log *appliertest.Log, n, batch int, h Handler) time.Duration {
	view, err := OpenLog(b.Context(), log, url, applier.Options{Name: "bench", BatchTransactionsMax: batch}, h)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	began := time.Now()
	go func() {
		defer cancel()
		ended <- view.Run(ctx)
	}()
	if view.WaitFor(ctx, 0, waltz.ID(n-1)) != nil {
		require.NoError(b, <-ended)
	}
	took := time.Since(began)
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, view.Close())
	return took
}

// BenchmarkApply compares handlers with hand-written SQL for the same tables, fed
// from the same log in the same run, by turns. The best of each counts: whatever else
// the machine does makes a run slower, never faster.
func BenchmarkApply(b *testing.B) {
	for _, shape := range []struct {
		name    string
		handler Handler
		hand    func(*sql.Conn, []waltz.Record[benchEvent], []string) error
		counts  map[int]int // transactions by batch
	}{
		{"record", applier.On(benchKind, perRecord), oneByOne, map[int]int{1: 2000, 100: 20_000, 1000: 20_000, 5000: 20_000}},
		{"batch", applier.OnBatch(benchKind, perBatch), setBased, map[int]int{100: 50_000, 1000: 200_000, 5000: 200_000}},
	} {
		for _, batch := range []int{1, 100, 1000, 5000} {
			for _, keys := range []bool{false, true} {
				n := shape.counts[batch]
				if n == 0 {
					continue
				}
				b.Run(fmt.Sprintf("handler=%s/batch=%d/keys=%t", shape.name, batch, keys), func(b *testing.B) {
					log := benchLog(b, n, keys)
					hand, ours := time.Hour, time.Hour
					var handCPU, oursCPU time.Duration
					for b.Loop() {
						urls := [2]string{}
						for i := range urls {
							urls[i] = servers.MariaDB(b).NewDatabase(b)
							benchTables(b, migrated(b, urls[i]))
						}
						before := cpu(b, urls[0])
						hand = min(hand, byHand(b, urls[0], log, n, batch, shape.hand))
						between := cpu(b, urls[0])
						ours = min(ours, byApplier(b, urls[1], log, n, batch, shape.handler))
						handCPU, oursCPU = handCPU+between-before, oursCPU+cpu(b, urls[1])-between
					}
					b.ReportMetric(float64(handCPU.Microseconds())/float64(b.N*n), "hand_cpu_us/tx")
					b.ReportMetric(float64(oursCPU.Microseconds())/float64(b.N*n), "cpu_us/tx")
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(float64(n)/hand.Seconds(), "hand_tx/s")
					b.ReportMetric(float64(n)/ours.Seconds(), "tx/s")
					b.ReportMetric(hand.Seconds()/ours.Seconds(), "ratio")
				})
			}
		}
	}
}
