package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
)

// A debit has its account alone, credits share one, and none waits for ever.
func TestTurns(t *testing.T) {
	t.Parallel()
	const accounts = 4
	turns := newTurns()
	var debits, credits [accounts]atomic.Int32
	var wg sync.WaitGroup
	for i := range uint64(16) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, i))
			for range 2000 {
				from := rng.IntN(accounts)
				to := (from + 1 + rng.IntN(accounts-1)) % accounts
				done, err := turns.take(t.Context(), ledger.Account(from), ledger.Account(to))
				if err != nil || debits[from].Add(1) != 1 || credits[from].Load() != 0 || credits[to].Add(1) < 1 || debits[to].Load() != 0 {
					t.Errorf("transfer from %d to %d is not alone: %v", from, to, err)
					return
				}
				debits[from].Add(-1)
				credits[to].Add(-1)
				done()
			}
		})
	}
	wg.Wait()
}

func TestTurnsEndWithTheContext(t *testing.T) {
	t.Parallel()
	turns := newTurns()
	done, err := turns.take(t.Context(), 1, 2)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, pair := range [][2]ledger.Account{{3, 1}, {1, 3}, {2, 3}} {
		_, err = turns.take(ctx, pair[0], pair[1])
		require.ErrorIs(t, err, context.Canceled)
	}
	shared, err := turns.take(t.Context(), 3, 2)
	require.NoError(t, err)
	shared()
	done()
	for _, pair := range [][2]ledger.Account{{3, 1}, {1, 3}, {2, 3}} { // nothing was kept
		again, err := turns.take(t.Context(), pair[0], pair[1])
		require.NoError(t, err)
		again()
	}
}
