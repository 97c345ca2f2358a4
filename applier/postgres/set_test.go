package postgres

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

type column struct {
	ID     int64
	Name   string
	Note   *string
	hidden int
}

func TestArrays(t *testing.T) {
	note := "n"
	require.Equal(t, []any{[]int64{1, 2}, []string{"a", "b"}, []*string{nil, &note}}, Arrays([]column{{ID: 1, Name: "a", hidden: 3}, {ID: 2, Name: "b", Note: &note}}))
	require.Equal(t, []any{[]int64{}, []string{}, []*string{}}, Arrays[column](nil))
}

// Against a map.
func TestFold(t *testing.T) {
	type row struct{ Key, Sum, First int }
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOf(rapid.Custom(func(t *rapid.T) row {
			return row{rapid.IntRange(0, 9).Draw(t, "key"), rapid.IntRange(-5, 5).Draw(t, "sum"), rapid.Int().Draw(t, "first")}
		})).Draw(t, "rows")
		want := map[int]row{}
		for _, r := range rows {
			total, has := want[r.Key]
			if !has {
				total = row{Key: r.Key, First: r.First}
			}
			total.Sum += r.Sum
			want[r.Key] = total
		}
		got := Fold(slices.Clone(rows), func(r *row) int { return r.Key }, func(total, r *row) { total.Sum += r.Sum })
		require.Len(t, got, len(want))
		require.True(t, slices.IsSortedFunc(got, func(a, b row) int { return cmp.Compare(a.Key, b.Key) }))
		for _, r := range got {
			require.Equal(t, want[r.Key], r)
		}
	})
}

// What the server makes of the arrays, NULL included.
func TestArraysOnTheServer(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	text := "x"
	type line struct {
		ID int64
		N  int32
		X  *string
	}
	require.NoError(t, b.step(waltz.None, func(ctx context.Context, tx *Tx) error {
		return tx.Queue(ctx, "INSERT INTO t (id, n, x) SELECT id, n, to_jsonb(x) FROM unnest($1::bigint[], $2::int[], $3::text[]) AS u (id, n, x)",
			Arrays([]line{{1, 2, nil}, {2, 3, &text}})...)
	}))
	require.Equal(t, int64(1), b.count("SELECT count(*) FROM t WHERE id = 1 AND n = 2 AND x IS NULL"))
	require.Equal(t, int64(1), b.count(`SELECT count(*) FROM t WHERE id = 2 AND n = 3 AND x = '"x"'`))
}

// F26: eight partitions into one summary, in folded batches: no deadlock, and the sums
// are exact.
func TestPartitionsShareASummary(t *testing.T) {
	type total struct{ Row, Sum int64 }
	address := servers.PostgreSQL(t).NewDatabase(t)
	h := newHits(t, address)
	log := appliertest.NewLog("summary", 8)
	for i := range 2000 {
		for p := range 8 {
			var tx waltz.Transaction
			require.NoError(t, hitKind.Put(&tx, hit{Row: int64((i*7919 + p*31) % 50), Add: int64(i)}))
			log.Append(waltz.Partition(p), tx)
		}
	}
	var retries atomic.Int32
	o := applier.Options{Name: "summary", BatchTransactionsMax: 100}
	o.Hooks.Retrying = func(waltz.Partition, applier.Fault, time.Duration) { retries.Add(1) }
	view := runView(t, log, address, o, applier.OnBatch(hitKind, func(ctx context.Context, tx *Tx, rs []waltz.Record[hit]) error {
		totals := make([]total, len(rs))
		for i, r := range rs {
			totals[i] = total{r.Value.Row, r.Value.Add}
		}
		totals = Fold(totals, func(t *total) int64 { return t.Row }, func(sum, t *total) { sum.Sum += t.Sum })
		return tx.Queue(ctx, `INSERT INTO sums SELECT * FROM unnest($1::bigint[], $2::bigint[])
			ON CONFLICT (row) DO UPDATE SET sum = sums.sum + excluded.sum`, Arrays(totals)...)
	}))
	reach(t, view, log)
	require.Zero(t, retries.Load())
	require.Equal(t, int64(8*1999*2000/2), h.count("SELECT sum(sum)::bigint FROM sums"))
	require.Equal(t, int64(50), h.count("SELECT count(*) FROM sums"))
}
