package txcontext_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// Clients fight over a few accounts, with delays everywhere and keys used twice.
// Everything converges, and the log replays: no account is ever overdrawn, each
// key committed once, and each decline was true of the log at its mark (I5).
func TestContentionConverges(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		clients := rapid.IntRange(1, 12).Draw(rt, "clients")
		accounts := rapid.Uint64Range(1, 3).Draw(rt, "accounts")
		synctest.Test(t, func(t *testing.T) { contend(t, seed, clients, accounts) })
	})
}

type outcome struct {
	c      order
	res    txcontext.Result
	err    error
	client int
}

type order struct {
	account uint64
	amount  int64 // withdrawn when negative
	key     string
}

func (o order) context() txcontext.Context[snapshot] {
	c := deposit(o.account, o.amount)
	if o.amount < 0 {
		c = withdraw(o.account, -o.amount)
	}
	c.Key = o.key
	return c
}

func contend(t *testing.T, seed uint64, clients int, accounts uint64) {
	w := newWorld()
	rng := rand.New(rand.NewPCG(seed, 0))
	var rngMu sync.Mutex
	w.delay = func() time.Duration {
		rngMu.Lock()
		defer rngMu.Unlock()
		return 1 + time.Duration(rng.Int64N(int64(time.Millisecond)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var applier sync.WaitGroup
	applier.Go(func() { w.apply(ctx) })
	r := w.runner(t, txcontext.Options{AttemptsMax: -1, InFlightMax: max(1, clients/2)})

	outcomes := make(chan outcome, clients*10)
	var wg sync.WaitGroup
	for c := range clients {
		orders := rand.New(rand.NewPCG(seed, uint64(c)+1))
		wg.Go(func() {
			for i := range 10 {
				o := order{orders.Uint64N(accounts), orders.Int64N(200) - 100, fmt.Sprint(c/2, "/", i)}
				res, err := r.Run(ctx, o.context())
				outcomes <- outcome{o, res, err, c}
			}
		})
	}
	wg.Wait()
	close(outcomes)
	cancel()
	applier.Wait()
	verify(t, w, outcomes)
}

func verify(t *testing.T, w *world, outcomes <-chan outcome) {
	balances := make([]move, 0, len(w.mu.log)) // after each transaction
	keys := map[string]waltz.ID{}
	now := move{}
	for id, tx := range w.mu.log {
		require.NotContains(t, keys, tx.Key)
		keys[tx.Key] = waltz.ID(id)
		var m move
		require.NoError(t, json.Unmarshal(tx.Data, &m))
		after := move{}
		for a, v := range now {
			after[a] = v
		}
		for a, v := range m {
			after[a] += v
			require.GreaterOrEqual(t, after[a], int64(0), "transaction %d overdraws account %d", id, a)
		}
		now = after
		balances = append(balances, after)
	}
	for o := range outcomes {
		if o.err == nil {
			require.Equal(t, keys[o.c.key], o.res.ID)
			continue
		}
		declined, is := errors.AsType[*txcontext.DeclinedError](o.err)
		require.True(t, is, "%v", o.err)
		balance := int64(0)
		if declined.Mark >= 0 {
			balance = balances[declined.Mark][o.c.account]
		}
		require.Less(t, balance, -o.c.amount)
	}
}
