package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
	"github.com/waltz-log/waltz/waltz/waltztest"
)

// instance is the service as one process has it.
type instance struct {
	*Stock
	client *waltz.Client
	view   *View
	ended  chan error // what view.Run returned
}

// start opens an instance on a log and a database, until the test's end.
func start(t *testing.T, log *waltztest.Log, address string, o applier.Options, handlers ...Handler) *instance {
	t.Helper()
	require.NoError(t, migrate(t.Context(), address))
	o.Name, o.Migrate = "stock", applier.MigrateCheck
	client := log.Client()
	view, err := openView(t.Context(), client, address, o, handlers...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, view.Close()) }) // ends Run, too
	runner, err := txcontext.NewRunner(client, view, txcontext.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, runner.Close()) })
	i := &instance{&Stock{runner, client.PartitionFor}, client, view, make(chan error, 1)}
	go func() { i.ended <- view.Run(context.Background()) }()
	return i
}

func (i *instance) quantity(t *testing.T, item int64) (quantity int64) {
	t.Helper()
	err := i.view.Snapshot(t.Context(), i.partitionOf(item), func(ctx context.Context, s Snapshot, _ waltz.ID) (err error) {
		quantity, err = quantityOf(ctx, s, item)
		return err
	})
	require.NoError(t, err)
	return quantity
}

func TestOrder(t *testing.T) {
	for name, handlers := range map[string][]Handler{"records": handlers(), "batches": batchHandlers()} {
		t.Run(name, func(t *testing.T) {
			s := start(t, waltztest.New(t), newDatabase(t), applier.Options{}, handlers...)
			_, err := s.Receive(t.Context(), "", Delivery{Item: 17, Quantity: 10})
			require.NoError(t, err)
			_, err = s.Order(t.Context(), "", Order{17, 3, "ada"}, txcontext.Fresh(), txcontext.WaitApplied())
			require.NoError(t, err)
			require.Equal(t, int64(7), s.quantity(t, 17))
			_, err = s.Order(t.Context(), "", Order{17, 8, "bob"}, txcontext.Fresh())
			require.ErrorIs(t, err, ErrSoldOut)
		})
	}
}

// Two instances, one piece, many customers.
func TestTheLastOneIsSoldOnce(t *testing.T) {
	log, address := waltztest.New(t), newDatabase(t)
	instances := []*instance{
		start(t, log, address, applier.Options{}, handlers()...),
		start(t, log, address, applier.Options{}, handlers()...),
	}
	_, err := instances[0].Receive(t.Context(), "", Delivery{Item: 17, Quantity: 1})
	require.NoError(t, err)

	var customers sync.WaitGroup
	var sold, soldOut atomic.Int32
	for n := range 20 {
		customers.Go(func() {
			_, err := instances[n%2].Order(t.Context(), "", Order{17, 1, "somebody"}, txcontext.Fresh())
			switch {
			case err == nil:
				sold.Add(1)
			case errors.Is(err, ErrSoldOut):
				soldOut.Add(1)
			}
		})
	}
	customers.Wait()
	require.EqualValues(t, 1, sold.Load())
	require.EqualValues(t, 19, soldOut.Load())
}

// A lost lock costs one more execution, and the caller nothing but time.
func TestLostLock(t *testing.T) {
	log := waltztest.New(t)
	s := start(t, log, newDatabase(t), applier.Options{}, handlers()...)
	_, err := s.Receive(t.Context(), "", Delivery{Item: 17, Quantity: 10}, txcontext.WaitApplied())
	require.NoError(t, err)
	log.ForceLockConflict(1)
	res, err := s.Order(t.Context(), "", Order{17, 3, "ada"})
	require.NoError(t, err)
	require.Equal(t, 2, res.Attempts)
}

// A request that is repeated with its key is done once.
func TestKey(t *testing.T) {
	s := start(t, waltztest.New(t), newDatabase(t), applier.Options{}, handlers()...)
	first, err := s.Receive(t.Context(), "delivery:4711", Delivery{Item: 17, Quantity: 10})
	require.NoError(t, err)
	second, err := s.Receive(t.Context(), "delivery:4711", Delivery{Item: 17, Quantity: 10})
	require.NoError(t, err)
	require.True(t, second.AlreadyDone)
	require.Equal(t, first.ID, second.ID)
}

// Broken connections don't show.
func TestLostAnswer(t *testing.T) {
	log := waltztest.New(t)
	s := start(t, log, newDatabase(t), applier.Options{}, handlers()...)
	log.FailNextAppend(waltztest.ErrAnswerLost)
	_, err := s.Receive(t.Context(), "", Delivery{Item: 17, Quantity: 10})
	require.NoError(t, err)
	require.Len(t, log.All(0), 1)
}

// A caller whose time is up while its append is under way does not know what
// became of it, until it asks.
func TestUnknown(t *testing.T) {
	log := waltztest.New(t)
	s := start(t, log, newDatabase(t), applier.Options{}, handlers()...)
	log.Delay(3 * time.Second)
	hurry, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := s.Receive(hurry, "", Delivery{Item: 17, Quantity: 10})
	var unknown *waltz.UnknownError
	require.ErrorAs(t, err, &unknown)
	id, err := s.client.Resolve(t.Context(), unknown)
	require.NoError(t, err)
	require.Equal(t, id, log.All(0)[0].ID)
}

// Committed is not yet seen: a view may be behind.
func TestViewIsBehind(t *testing.T) {
	log := waltztest.New(t)
	s := start(t, log, newDatabase(t), applier.Options{}, handlers()...)
	_, err := s.Receive(t.Context(), "", Delivery{Item: 17, Quantity: 10}, txcontext.WaitApplied())
	require.NoError(t, err)
	log.SuspendFeed()
	hurry, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	res, err := s.Receive(hurry, "", Delivery{Item: 17, Quantity: 5}, txcontext.WaitApplied())
	var notApplied *txcontext.NotAppliedError
	require.ErrorAs(t, err, &notApplied)
	require.Equal(t, int64(10), s.quantity(t, 17))
	log.ResumeFeed()
	require.NoError(t, s.view.WaitFor(t.Context(), res.Partition, res.ID))
	require.Equal(t, int64(15), s.quantity(t, 17))
}

// sellBlindly commits an order that no transaction context has checked.
func sellBlindly(t *testing.T, log *waltztest.Log, o Order) waltz.ID {
	t.Helper()
	var tx waltz.Transaction
	require.NoError(t, ordered.Put(&tx, o))
	return log.Append(0, tx)
}

// By default a view stops before what it can't apply.
func TestStop(t *testing.T) {
	log := waltztest.New(t)
	s := start(t, log, newDatabase(t), applier.Options{}, handlers()...)
	_, err := s.Receive(t.Context(), "", Delivery{Item: 17, Quantity: 10})
	require.NoError(t, err)
	id := sellBlindly(t, log, Order{17, 11, "a bug"})
	var stopped *applier.TransactionError
	require.ErrorAs(t, <-s.ended, &stopped)
	require.Equal(t, id, stopped.ID)
}

// With QuarantineKey it goes on, but for what changes the same item.
func TestQuarantine(t *testing.T) {
	log := waltztest.New(t)
	s := start(t, log, newDatabase(t), applier.Options{Policy: applier.QuarantineKey}, quarantineHandlers()...)
	for _, item := range []int64{17, 18} {
		_, err := s.Receive(t.Context(), "", Delivery{Item: item, Quantity: 10})
		require.NoError(t, err)
	}
	sellBlindly(t, log, Order{17, 11, "a bug"})
	sellBlindly(t, log, Order{17, 1, "held behind it"})
	last := sellBlindly(t, log, Order{18, 4, "ada"})
	require.NoError(t, s.view.WaitFor(t.Context(), 0, last))
	require.Equal(t, int64(10), s.quantity(t, 17))
	require.Equal(t, int64(6), s.quantity(t, 18))
	letters, err := s.view.Letters(t.Context(), 0, applier.LetterQuery{After: waltz.None, Limit: 10})
	require.NoError(t, err)
	require.Equal(t, applier.LetterDead, letters[0].State)
	require.Equal(t, applier.LetterHeld, letters[1].State)

	discarded, err := s.view.Discard(t.Context(), 0, letters[0].ID, "sold by a bug, never sent")
	require.NoError(t, err)
	require.True(t, discarded)
	require.Eventually(t, func() bool { return s.quantity(t, 17) == 9 }, 10*time.Second, 10*time.Millisecond)
}
