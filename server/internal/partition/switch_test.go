package partition

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/server/internal/fakestore"
)

// switching is a session whose replicas are to be changed when the test says so.
type switching struct {
	*fakestore.Session
	switches chan struct{}
}

func (s *switching) Switches() <-chan struct{} { return s.switches }

// startSwitching starts a partition, and returns where to say that it is time.
func startSwitching(t *testing.T) (b *bundle, switches chan struct{}) {
	return startSwitchingTo(t, func(context.Context) error { return nil })
}

// startSwitchingTo is startSwitching with something to do before a session is open.
func startSwitchingTo(t *testing.T, before func(context.Context) error) (b *bundle, switches chan struct{}) {
	switches = make(chan struct{}, 1)
	b = start(t, func(o *Options) {
		open := o.Open
		o.Open = func(ctx context.Context, p txn.Partition, committed func(txn.ID)) (Session, error) {
			if err := before(ctx); err != nil {
				return nil, err
			}
			s, err := open(ctx, p, committed)
			if err != nil {
				return nil, err
			}
			return &switching{s.(*fakestore.Session), switches}, nil
		}
	}).ready()
	return b, switches
}

// A switch refuses nothing: what is in flight is committed first, what comes
// meanwhile waits, and lock table and window are kept without reading the log.
func TestSwitchRefusesNothing(t *testing.T) {
	b, switches := startSwitching(t)
	defer b.done()
	first := b.attempt(1, txn.None, lock(write, 5))
	require.Nil(t, b.append(first).no)
	reads := b.log.Reads()
	b.log.Hold(true)
	inFlight := b.send(b.attempt(2, 0, lock(write, 6)))
	b.eventually(func() bool { return b.Stats().InFlight == 1 }, "it is in flight")
	switches <- struct{}{}
	b.eventually(func() bool { return len(switches) == 0 }, "the owner has heard")
	meanwhile := b.send(b.attempt(3, 0, lock(write, 7)))
	require.Equal(t, uint64(1), b.Stats().Opens, "not while it is in flight")
	b.log.Hold(false)
	b.await()
	require.Equal(t, answer{given: true, id: 1}, b.answer(inFlight))
	require.Equal(t, answer{given: true, id: 2}, b.answer(meanwhile))
	b.eventually(func() bool { return b.Stats().Opens == 2 }, "the next session is open")
	require.Equal(t, reads, b.log.Reads(), "nothing is read back")
	require.Equal(t, answer{given: true, id: 0}, b.append(again(first)), "I4")
	require.Equal(t, &wire.Error{Reason: wire.LockConflict, TransactionID: 1}, b.append(b.attempt(4, 0, lock(write, 6))).no, "I5")
}

// What can't be committed in time is settled by the next session, as after a loss:
// here it is not in the log that was chosen, so lock table and window are read anew.
func TestSwitchDoesNotWaitForEver(t *testing.T) {
	b, switches := startSwitching(t)
	defer b.done()
	require.Nil(t, b.append(b.attempt(1, txn.None)).no)
	b.log.Hold(true)
	lost := b.send(b.attempt(2, 0, lock(write, 6)))
	b.eventually(func() bool { return b.Stats().InFlight == 1 }, "it is in flight")
	switches <- struct{}{}
	b.eventually(func() bool { return b.Stats().Opens == 2 && b.Ready() == nil }, "the next session is open")
	b.await()
	if no := b.answer(lost).no; no != nil {
		require.Equal(t, wire.Unavailable, no.Reason)
	}
	b.log.Hold(false)
	require.Nil(t, b.append(b.attempt(3, 0, lock(write, 7))).no)
}

// Replicas that no session can be opened on after a switch keep nobody waiting in the
// inbox: what came is refused as unavailable, and taken again when one is open.
func TestSwitchToReplicasThatDoNotAnswer(t *testing.T) {
	var hang atomic.Bool
	answer := make(chan struct{})
	b, switches := startSwitchingTo(t, func(ctx context.Context) error {
		if !hang.Load() {
			return nil
		}
		select {
		case <-answer:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	defer b.done()
	first := b.attempt(1, txn.None, lock(write, 5))
	require.Nil(t, b.append(first).no)
	hang.Store(true)
	switches <- struct{}{}
	b.eventually(func() bool { return b.Ready() != nil }, "the session is over")
	waits := b.send(b.attempt(2, 0, lock(write, 6)))
	b.eventually(func() bool { return b.waiting() == 0 }, "it is answered")
	require.Equal(t, wire.Unavailable, b.answer(waits).no.Reason)
	require.ErrorContains(t, b.Ready(), "no session was open within 1s")
	close(answer)
	b.ready()
	require.Nil(t, b.append(again(b.sent[waits])).no)
}
