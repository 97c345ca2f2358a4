package postgres

import (
	"cmp"
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

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
