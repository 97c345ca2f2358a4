package applybench

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/waltz"
)

// A stretch looks like a log of its own, wherever in a log it is, and whatever is there
// besides.
func TestStretchIsALog(t *testing.T) {
	c := newLog(t, 2)
	for _, counts := range [][]int{{3, 2}, {7, 4}} {
		base, err := fill(t.Context(), c, counts)
		require.NoError(t, err)
		for p, n := range counts {
			p := waltz.Partition(p)
			require.Equal(t, base[p]+waltz.ID(n), mark(t, c, p))
			s := stretch{c, base, n - 1} // what is behind it is not shown
			got, err := s.HighWaterMark(t.Context(), p)
			require.NoError(t, err)
			require.Equal(t, waltz.ID(n)-2, got)
			next, seen := waltz.ID(0), map[string]bool{}
			require.NoError(t, s.each(t.Context(), p, 2, func(rs []record) error {
				require.LessOrEqual(t, len(rs), 2)
				for _, r := range rs {
					require.Equal(t, next, r.ID)
					seen[r.Key] = true
					next++
				}
				return nil
			}))
			require.Len(t, seen, n-1)
		}
	}
	require.Equal(t, c.LogID(), stretch{client: c}.LogID())
}

func mark(t *testing.T, c *waltz.Client, p waltz.Partition) waltz.ID {
	id, err := c.HighWaterMark(t.Context(), p)
	require.NoError(t, err)
	return id
}

// Behind its end a stretch is idle, whether or not the log goes on.
func TestStretchEnds(t *testing.T) {
	c := newLog(t, 1)
	base, err := fill(t.Context(), c, []int{5})
	require.NoError(t, err)
	feed, err := stretch{c, base, 2}.Subscribe(t.Context(), waltz.SubscribeOptions{HighWaterMark: waltz.None})
	require.NoError(t, err)
	defer func() { require.NoError(t, feed.Close()) }()
	for seen := 0; seen < 2; {
		b, err := feed.Next(t.Context(), 10)
		require.NoError(t, err)
		seen += len(b.Transactions)
		require.Equal(t, waltz.ID(seen)-1, b.HighWaterMark)
		require.LessOrEqual(t, b.Committed, waltz.ID(1))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = feed.Next(ctx, 10)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestSomebodyElseAppends(t *testing.T) {
	c := newLog(t, 1)
	_, err := c.Append(t.Context(), 0, waltz.Transaction{HighWaterMark: waltz.None})
	require.NoError(t, err)
	require.ErrorContains(t, fillPartition(t.Context(), c, 0, 2, waltz.None), "somebody else")
}

func TestTransfersComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, _ := nth(waltz.Partition(rapid.IntRange(0, 63).Draw(t, "partition")), rapid.IntRange(0, 1_000_000).Draw(t, "i"))
		want.allowOverdraft = rapid.Bool().Draw(t, "overdraft")
		data, err := codec{}.Encode(want)
		require.NoError(t, err)
		var got transfer
		require.NoError(t, codec{}.Decode(data, &got))
		require.Equal(t, want, got)
		require.Error(t, codec{}.Decode(data[:rapid.IntRange(0, fixedBytes-1).Draw(t, "cut")], &got))
	})
}

// Rows by hand are what adding up one by one gives, in the order of their keys.
func TestRowsOfBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rs []record
		var want sums
		balances := map[int64]int64{}
		for i := range rapid.IntRange(1, 50).Draw(t, "records") {
			v, key := nth(1, rapid.IntRange(0, 20).Draw(t, "n"))
			rs = append(rs, record{Committed: waltz.Committed{ID: waltz.ID(i), Key: key}, Value: v})
			want.add(&v, key, balances)
		}
		want.weigh(balances)
		got := sums{entries: want.entries, keys: want.keys, moved: want.moved}
		last := int64(0)
		for _, c := range changesOf(rs) {
			require.Greater(t, c.Account, last)
			require.Equal(t, balances[c.Account], c.BalanceMinor)
			last = c.Account
			got.accounts++
			got.weighed += c.Account * c.BalanceMinor
			got.transactions += c.Transactions
		}
		var before posting
		for _, p := range postingsOf(rs) {
			require.True(t, p.Account > before.Account || p.Account == before.Account && p.ID >= before.ID)
			balances[p.Account] -= p.AmountMinor
			before = p
			got.postings++
		}
		require.Equal(t, want, got)
		for _, rest := range balances {
			require.Zero(t, rest)
		}
	})
}
