package partition

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// What a server says of the log's end is not final while another may have taken
// over (I8): an attempt of a client that has seen more is to be sent again, not
// refused as one of another log, and no high-water mark is told.
func TestEndOfLogIsConfirmed(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.append(b.attempt(1, txn.None))
	stop := b.log.Doubt(errors.New("another session took over"))
	require.Equal(t, wire.Unavailable, b.append(b.attempt(2, 7)).no.Reason)
	_, err := b.HighWaterMark(t.Context())
	requireReason(t, err, wire.Unavailable)
	_, err = b.At(t.Context(), 0)
	requireReason(t, err, wire.Unavailable)
	stop()
	require.Equal(t, wire.Invalid, b.append(b.attempt(2, 7)).no.Reason)
	hwm, err := b.HighWaterMark(t.Context())
	require.NoError(t, err)
	require.Equal(t, txn.ID(0), hwm)
}

// While nobody confirms, all else goes on, and what waits is bounded (I9).
func TestDoubtKeepsNobodyWaiting(t *testing.T) {
	b := start(t, func(o *Options) { o.SearchAttemptsMax = 3 }).ready()
	defer b.done()
	stop := b.log.Doubt(nil)
	for n := range uint64(12) {
		b.send(b.attempt(n, 7))
	}
	b.eventually(func() bool { return b.waiting() <= 6 }, "what is too much is refused")
	require.True(t, b.append(b.attempt(12, txn.None)).given)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := b.HighWaterMark(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	waiting := b.waiting()
	require.GreaterOrEqual(t, waiting, 3)
	stop()
	b.await()
	final := 0
	for n := range 12 {
		if b.answer(n).no.Reason == wire.Invalid {
			final++
		}
	}
	require.Equal(t, waiting, final)
}

// confirming is a session that notes in the call's context that it was asked.
type confirming struct{ Session }

type askedKey struct{}

func (c *confirming) Confirm(ctx context.Context) error {
	*ctx.Value(askedKey{}).(**confirming) = c
	return nil
}

func (c *confirming) At(ctx context.Context, _ txn.Timestamp) (txn.ID, error) {
	if *ctx.Value(askedKey{}).(**confirming) != c {
		return txn.None, errors.New("another session was asked whether this one is the latest")
	}
	return 0, nil
}

// The session that answers is the one that has confirmed that it may, even if another
// one opens at that moment.
func TestAtConfirmsTheSessionThatAnswers(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	was := b.session.Load()
	one, other := &sessionRef{&confirming{was}}, &sessionRef{&confirming{was}}
	var stop atomic.Bool
	swapped := make(chan struct{})
	go func() {
		defer close(swapped)
		for !stop.Load() {
			b.session.Store(one)
			b.session.Store(other)
		}
		b.session.Store(was)
	}()
	for b.session.Load() == was {
		runtime.Gosched()
	}
	for range 100000 {
		var asked *confirming
		_, err := b.At(context.WithValue(t.Context(), askedKey{}, &asked), 0)
		require.NoError(t, err)
	}
	stop.Store(true)
	<-swapped
}
