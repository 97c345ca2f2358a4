package view_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/waltz"
)

// Whoever looks at a view makes and changes nothing, and sees one state.
func TestLook(t *testing.T) {
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		at := address(t)
		db, err := view.ParseDatabase(at)
		require.NoError(t, err)
		marks := func() (all []view.Mark, err error) {
			err = db.Look(t.Context(), func(ctx context.Context, ask view.Querier) error {
				all, err = view.ReadMarks(ctx, ask)
				return err
			})
			return all, err
		}
		for range 2 {
			require.ErrorIs(t, db.Exists(t.Context()), view.ErrNoView)
			_, err = marks()
			require.ErrorIs(t, err, view.ErrNoView)
		}
		s := open(t, at)
		s.apply(t, record(0, 0, movement(ledger.KindTransfer, -1, 4, 100, -1, 4)))
		all, err := marks()
		require.NoError(t, err)
		require.Equal(t, []view.Mark{{Partition: 0, ID: 0, LogID: "growing"}, {Partition: 1, ID: waltz.None, LogID: "growing"}}, all)

		require.NoError(t, db.Look(t.Context(), func(ctx context.Context, ask view.Querier) error {
			letters, err := view.ReadLetters(ctx, ask)
			require.NoError(t, err)
			require.Equal(t, view.Letters{Discarded: map[ledger.Origin]bool{}}, letters)
			before, err := view.ReadSums(ctx, ask)
			require.NoError(t, err)
			s.apply(t, record(0, 1, movement(ledger.KindOut, 4, 3, 30, 4, -2)))
			after, err := view.ReadSums(ctx, ask)
			require.NoError(t, err)
			require.Equal(t, before, after, "one state")
			return nil
		}))
		require.Error(t, db.Look(t.Context(), func(ctx context.Context, ask view.Querier) error {
			rows, err := ask(ctx, `DELETE FROM account`)
			if err != nil {
				return err
			}
			rows.Next()
			_ = rows.Close()
			return rows.Err()
		}))
		require.Equal(t, []string{"4 2 70"}, balances(t, s.Ask(), ""))
	})
}

// A transfer may have arrived in a view that does not show yet that it was sent.
func TestSumsWhicheverPartitionComesFirst(t *testing.T) {
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		s := open(t, address(t))
		in := movement(ledger.KindIn, 4, 3, 30, -4, 3)
		in.Origin = &ledger.Origin{Partition: 0, ID: 0}
		s.apply(t, record(1, 0, in))
		sums, err := view.ReadSums(t.Context(), s.Ask())
		require.NoError(t, err)
		require.Equal(t, view.Sums{TransitMinor: -30, PendingMinor: -30}, sums)
		s.apply(t, record(0, 0, movement(ledger.KindOut, 4, 3, 30, 4, -2)))
		sums, err = view.ReadSums(t.Context(), s.Ask())
		require.NoError(t, err)
		require.Equal(t, view.Sums{}, sums)
	})
}

// The handlers are fit for every policy.
func TestPolicies(t *testing.T) {
	onEach(t, func(t *testing.T, address func(testing.TB) string) {
		db, err := view.ParseDatabase(address(t))
		require.NoError(t, err)
		for _, policy := range []applier.Policy{applier.DeadLetter, applier.QuarantineKey} {
			v, err := db.Open(t.Context(), newLog(), applier.Options{Policy: policy})
			require.NoError(t, err)
			require.NoError(t, v.Close())
		}
	})
}
