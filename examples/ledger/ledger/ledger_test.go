package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

func TestTransferWithinPartition(t *testing.T) {
	b := newBank(t)
	b.open(t, 2, 100)
	b.open(t, 4, 0)
	res, err := b.Transfer(t.Context(), order("k", 2, 4, 60))
	require.NoError(t, err)
	require.Equal(t, "[40 60 -100]", b.balances(2, 4, ledger.Bank(0)))
	require.Equal(t, []waltz.Lock{
		{LockID: waltz.LockID{Name: "standing", ID: 2}, Mode: waltz.LockRead},
		{LockID: waltz.LockID{Name: "debits", ID: 2}, Mode: waltz.LockWrite},
		{LockID: waltz.LockID{Name: "standing", ID: 4}, Mode: waltz.LockRead},
		{LockID: waltz.LockID{Name: "credits", ID: 4}, Mode: waltz.LockAppend},
	}, b.logs[0][res.ID].Locks)

	again, err := b.Transfer(t.Context(), order("k", 2, 4, 60))
	require.NoError(t, err)
	require.True(t, again.AlreadyDone)
	require.Equal(t, "[40 60]", b.balances(2, 4))
}

func TestDeclines(t *testing.T) {
	b := newBank(t)
	b.open(t, 2, 100)
	b.open(t, 4, 0)
	b.open(t, 6, 0)
	_, err := b.Close(t.Context(), 6, "2026-01-02")
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		o    ledger.Order
		want error
	}{
		"overdraft":            {order("", 2, 4, 101), ledger.ErrOverdraft},
		"overdraft crossing":   {order("", 2, 3, 101), ledger.ErrOverdraft},
		"nothing":              {order("", 2, 4, 0), ledger.ErrAmount},
		"too much at once":     {order("", ledger.Bank(0), 4, ledger.AmountMax+1), ledger.ErrAmount},
		"self":                 {order("", 2, 2, 1), ledger.ErrSelf},
		"unknown sender":       {order("", 8, 4, 1), ledger.ErrNoAccount},
		"unknown receiver":     {order("", 2, 8, 1), ledger.ErrNoAccount},
		"closed receiver":      {order("", 2, 6, 1), ledger.ErrClosed},
		"closed takes no cash": {order("", ledger.Bank(0), 6, 1), ledger.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.Transfer(t.Context(), tc.o)
			require.ErrorIs(t, err, tc.want)
		})
	}
	_, err = b.Close(t.Context(), 2, "2026-01-02")
	require.ErrorIs(t, err, ledger.ErrNotEmpty)
	require.Equal(t, "[100 0]", b.balances(2, 4))
}

// What comes in between the decision on an account and its append is in the way only of
// what relies on nothing having come in.
func TestWhatComesInMeanwhile(t *testing.T) {
	credit := func(b *bank) func() {
		return func() {
			_, err := b.Deposit(t.Context(), order("", 0, 2, 5))
			require.NoError(t, err)
		}
	}
	debit := func(b *bank) func() {
		return func() {
			_, err := b.Transfer(t.Context(), order("", 2, 4, 60))
			require.NoError(t, err)
		}
	}
	b := newBank(t)
	b.open(t, 2, 200)
	b.open(t, 4, 0)
	b.meanwhile = credit(b)
	res, err := b.Transfer(t.Context(), order("", 2, 4, 60))
	require.NoError(t, err)
	require.Equal(t, 1, res.Attempts, "a debit does not mind a credit")

	b.meanwhile = debit(b)
	res, err = b.Transfer(t.Context(), order("", 2, 4, 60))
	require.NoError(t, err)
	require.Equal(t, 2, res.Attempts, "a debit minds a debit")

	require.Equal(t, "[25 180]", b.balances(2, 4))

	b.meanwhile = func() {
		_, err := b.Transfer(t.Context(), order("", 2, 4, 10))
		require.NoError(t, err)
	}
	_, err = b.Transfer(t.Context(), order("", 2, 4, 20))
	require.ErrorIs(t, err, ledger.ErrOverdraft, "it sufficed when it was first looked at")
}

// An account that was empty when it was looked at is not closed over a credit.
func TestCloseMindsCredits(t *testing.T) {
	b := newBank(t)
	b.open(t, 2, 0)
	b.meanwhile = func() {
		_, err := b.Deposit(t.Context(), order("", 0, 2, 5))
		require.NoError(t, err)
	}
	_, err := b.Close(t.Context(), 2, "2026-01-02")
	require.ErrorIs(t, err, ledger.ErrNotEmpty)
}

func TestOverdraftAllowedStandsInTheTransaction(t *testing.T) {
	b := newBank(t)
	o := order("", 2, 0, 101)
	o.AllowOverdraft = true
	res, err := b.Withdraw(t.Context(), o)
	require.NoError(t, err)
	require.True(t, b.entries[0][res.ID].AllowOverdraft)
	require.Equal(t, "[-101 101]", b.balances(2, ledger.Bank(0)))
}

// No sequence of entries takes a balance, the house's included, beyond the limit: what
// would is declined, or returned if it is another partition that can't take it.
func TestBalancesHaveALimit(t *testing.T) {
	const nearly = ledger.BalanceMax - 10
	b := newBank(t)
	b.open(t, 2, 100)
	b.open(t, 4, 100)
	b.open(t, 3, 0)
	b.raise(0, 2, nearly-100)
	b.raise(0, ledger.Bank(0), -nearly+200)
	b.raise(1, 3, nearly)
	for name, o := range map[string]ledger.Order{
		"receiver":     order("", 4, 2, 11),
		"bank":         order("", ledger.Bank(0), 4, 11),
		"bank in sum":  order("", ledger.Bank(0), 6, ledger.AmountMax),
		"both at once": order("", ledger.Bank(0), 2, 11),
	} {
		_, err := b.Transfer(t.Context(), o)
		require.ErrorIs(t, err, ledger.ErrLimit, name)
	}
	_, err := b.Open(t.Context(), 8, 11, "2026-01-02")
	require.ErrorIs(t, err, ledger.ErrLimit)
	_, err = b.Open(t.Context(), 8, ledger.AmountMax+1, "2026-01-02")
	require.ErrorIs(t, err, ledger.ErrAmount)
	_, err = b.Transfer(t.Context(), order("", ledger.Bank(0), 2, 10))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint([]int64{ledger.BalanceMax, -ledger.BalanceMax}), b.balances(2, ledger.Bank(0)))
	_, err = b.Transfer(t.Context(), order("", 2, 4, 5))
	require.NoError(t, err, "what brings a balance back is taken")

	_, err = b.Transfer(t.Context(), order("", 4, 3, 11))
	require.NoError(t, err)
	b.relay(t)
	require.Equal(t, fmt.Sprint([]int64{105, nearly}), b.balances(4, 3), "the receiver's partition sent it back")

	b.raise(0, ledger.Transit(0), ledger.BalanceMax)
	_, err = b.Transfer(t.Context(), order("", 4, 3, 1))
	require.ErrorIs(t, err, ledger.ErrLimit)

	o := order("", 4, ledger.Bank(0), ledger.AmountMax)
	o.AllowOverdraft = true
	b.raise(0, 4, -ledger.BalanceMax)
	_, err = b.Transfer(t.Context(), o)
	require.ErrorIs(t, err, ledger.ErrLimit)
}

func TestCashOpensAnAccount(t *testing.T) {
	b := newBank(t)
	_, err := b.Deposit(t.Context(), order("", 0, 2, 70))
	require.NoError(t, err)
	require.Equal(t, "[70 -70]", b.balances(2, ledger.Bank(0)))
	_, err = b.Open(t.Context(), 2, 0, "2026-01-02")
	require.ErrorIs(t, err, ledger.ErrExists)
}

func TestTransferAcrossPartitions(t *testing.T) {
	b := newBank(t)
	b.open(t, 2, 100)
	b.open(t, 3, 0)
	res, err := b.Transfer(t.Context(), order("", 2, 3, 60))
	require.NoError(t, err)
	c, found, err := b.now().Crossing(t.Context(), ledger.Origin{Partition: 0, ID: res.ID})
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, ledger.Pending, c.Status)
	require.Equal(t, "[40 60 0 0]", b.balances(2, ledger.Transit(0), ledger.Transit(1), 3))
	_, err = b.Close(t.Context(), 2, "2026-01-02")
	require.ErrorIs(t, err, ledger.ErrNotEmpty)

	b.relay(t)
	require.Equal(t, "[40 60 -60 60]", b.balances(2, ledger.Transit(0), ledger.Transit(1), 3))
	require.Equal(t, fmt.Sprint("in:0/", res.ID), b.logs[1][len(b.logs[1])-1].Key)
}

func TestRefusedCreditIsReturned(t *testing.T) {
	b := newBank(t)
	b.open(t, 2, 100)
	res, err := b.Transfer(t.Context(), order("", 2, 3, 60))
	require.NoError(t, err)
	b.relay(t)
	require.Equal(t, "[100 0 0 0]", b.balances(2, ledger.Transit(0), ledger.Transit(1), 3))
	c, _, err := b.now().Crossing(t.Context(), ledger.Origin{Partition: 0, ID: res.ID})
	require.NoError(t, err)
	require.Equal(t, ledger.Returned, c.Status)
	require.Equal(t, ledger.ErrNoAccount.Error(), c.Reason)
}

// A relay that dies after the refusal was recorded must not credit later, even if
// the account is there by then: another may be returning the money.
func TestRefusalIsForGood(t *testing.T) {
	b := newBank(t)
	b.open(t, 2, 100)
	_, err := b.Transfer(t.Context(), order("", 2, 3, 60))
	require.NoError(t, err)

	ctx, crash := context.WithCancel(t.Context())
	b.broken = func(p waltz.Partition, tx waltz.Transaction) error {
		if tx.Header == ledger.HeaderCorrected && p == 0 {
			crash()
			return errors.New("crashed before the return")
		}
		return nil
	}
	require.NoError(t, b.Run(ctx, partitions))
	b.broken = nil
	require.Equal(t, "[40 60]", b.balances(2, ledger.Transit(0)))

	b = newBankOn(t, b.memory)
	b.open(t, 3, 0)
	b.relay(t)
	require.Equal(t, "[100 0 0]", b.balances(2, ledger.Transit(0), 3))
}

// Relays die at random appends while clients transfer across and within
// partitions, some to accounts that nobody opened. The next relay goes on, and in
// the end each coin is where exactly one of its transfers put it.
func TestRelaysCrashAnywhere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBank(t)
		for a := range ledger.Account(6) {
			b.open(t, a+1, 1000)
		}
		for i := range rapid.IntRange(1, 20).Draw(rt, "transfers") {
			o := order(fmt.Sprint(i), ledger.Account(rapid.IntRange(1, 6).Draw(rt, "from")), ledger.Account(rapid.IntRange(1, 9).Draw(rt, "to")), 300)
			_, err := b.Transfer(t.Context(), o)
			if err != nil {
				require.True(rt, errors.Is(err, ledger.ErrOverdraft) || errors.Is(err, ledger.ErrSelf) || errors.Is(err, ledger.ErrNoAccount), "%v", err)
			}
		}
		for _, after := range rapid.SliceOfN(rapid.IntRange(0, 4), 0, 4).Draw(rt, "crashes") {
			b.crash(t, after)
		}
		b.relay(t)
		b.audit(rt)
	})
}

// crash runs two relays until they have appended so often.
func (b *bank) crash(t *testing.T, after int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.broken = func(waltz.Partition, waltz.Transaction) error {
		if after--; after < 0 {
			cancel()
			return errors.New("crashed")
		}
		return nil
	}
	if b.pending() == 0 {
		cancel()
	}
	var relays sync.WaitGroup
	for range 2 {
		relays.Go(func() { _ = b.Run(ctx, partitions) })
	}
	go func() { // or there was not so much to do
		_ = b.Drain(ctx, partitions)
		cancel()
	}()
	relays.Wait()
	b.broken = nil
}

func (b *bank) pending() (n int) {
	for p := range partitions {
		all, _ := b.now().Pending(context.Background(), waltz.Partition(p), waltz.None, 1<<30)
		n += len(all)
	}
	return n
}

// audit works the books out from what the transfers were to do.
func (b *bank) audit(t require.TestingT) {
	want := map[ledger.Account]int64{}
	for p := range partitions {
		for _, e := range b.entries[p] {
			switch {
			case e.Kind == ledger.KindOpened, e.Kind == ledger.KindTransfer, e.Kind == ledger.KindOut && e.To <= 6:
				want[e.From] -= e.AmountMinor
				want[e.To] += e.AmountMinor
			}
		}
	}
	for a := ledger.Account(1); a <= 9; a++ {
		s, _ := b.now().Standing(context.Background(), a)
		require.Equal(t, want[a], s.BalanceMinor, "account %d", a)
		require.GreaterOrEqual(t, s.BalanceMinor, int64(0))
	}
	transit := int64(0)
	for p := range waltz.Partition(partitions) {
		s, _ := b.now().Standing(context.Background(), ledger.Transit(p))
		transit += s.BalanceMinor
	}
	require.Zero(t, transit)
}

func TestPartitionOf(t *testing.T) {
	for p := range waltz.Partition(5) {
		require.Equal(t, p, ledger.PartitionOf(ledger.Bank(p), nil))
		require.Equal(t, p, ledger.PartitionOf(ledger.Transit(p), nil))
		require.True(t, ledger.Transit(p).IsTransit())
		require.False(t, ledger.Bank(p).IsTransit())
	}
}

func TestCodecRefusesWhatIsNoEntry(t *testing.T) {
	for _, data := range []string{
		``, `{}`, `[]`, `{"kind":"GIFT","postings":[]}`, `{"kind":"TRANSFER_IN","postings":[]}`, `{"kind":"ACCOUNT_OPENED","postings":[]}`,
		`{"kind":"TRANSFER","postings":[{"account":1,"currency":"CZK","side":"DR","amount_minor":1}]}`,
		`{"kind":"TRANSFER","postings":[{"account":1,"side":"DR","amount_minor":1},{"account":1,"side":"CR","amount_minor":1}]}`,
		`{"kind":"TRANSFER","postings":[{"account":1,"side":"DR","amount_minor":-1},{"account":2,"side":"CR","amount_minor":-1}]}`,
		`{"kind":"TRANSFER","postings":[{"account":1,"side":"DR","amount_minor":1000000000001},{"account":2,"side":"CR","amount_minor":1000000000001}]}`,
		`{"kind":"TRANSFER","postings":[{"account":1,"side":"up","amount_minor":1},{"account":2,"side":"CR","amount_minor":1}]}`,
	} {
		var e ledger.Entry
		require.Error(t, ledger.Codec{}.Decode([]byte(data), &e), data)
	}
}
