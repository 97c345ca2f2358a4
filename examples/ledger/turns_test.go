package main

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
)

// Each transfer has its account alone, and none waits for ever.
func TestTurns(t *testing.T) {
	t.Parallel()
	const accounts = 4
	turns := newTurns()
	var alone [accounts]atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 2000 {
				a := (i + n) % accounts
				done, err := turns.take(t.Context(), ledger.Account(a))
				if err != nil || alone[a].Add(1) != 1 {
					t.Errorf("transfer from %d is not alone: %v", a, err)
					return
				}
				alone[a].Add(-1)
				done()
			}
		})
	}
	wg.Wait()
}

func TestTurnsEndWithTheContext(t *testing.T) {
	t.Parallel()
	turns := newTurns()
	done, err := turns.take(t.Context(), 1)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = turns.take(ctx, 1)
	require.ErrorIs(t, err, context.Canceled)
	done()
	done, err = turns.take(t.Context(), 1)
	require.NoError(t, err)
	done()
}
