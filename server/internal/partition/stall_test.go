package partition

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

var errFull = fmt.Errorf("storage s1: %w", session.ErrFull)

// stall makes the storages full, and waits until the partition refuses.
func (b *bundle) stall() {
	b.log.Stall(errFull)
	b.eventually(func() bool {
		b.inbox.mu.Lock()
		defer b.inbox.mu.Unlock()
		return b.inbox.shut != nil
	}, "attempts are refused")
}

// unstall makes room, and waits until the partition takes attempts.
func (b *bundle) unstall() {
	b.log.Stall(nil)
	b.eventually(func() bool {
		b.inbox.mu.Lock()
		defer b.inbox.mu.Unlock()
		return b.inbox.shut == nil
	}, "attempts are taken")
}

// TestFullStoragesStopAppendsOnly: while storages are full, new attempts are
// refused at once and those in flight are answered, truly (I8); all else goes on.
// With room, what was in flight is committed, and its resend gets that ID (I4).
func TestFullStoragesStopAppendsOnly(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	sub := subscribe(b)
	defer sub.stop()
	b.append(b.attempt(1, txn.None, lock(write, 5)))
	b.log.Hold(true)
	flying := b.attempt(2, 0, lock(write, 5))
	waits := b.attempt(3, 0, lock(read, 5))
	n := b.send(flying, waits, b.attempt(4, 0))
	b.eventually(func() bool { return b.log.InFlight() == 1 }, "they are in flight")
	b.stall()
	b.log.Hold(false)
	b.await()
	for i := range 3 {
		no := b.answer(n + i).no
		require.Equal(t, wire.Unavailable, no.Reason, "it may yet be committed, which StorageFull denies")
		require.ErrorContains(t, no, "disk is full")
	}
	for _, a := range []int{b.send(b.attempt(5, 0)), b.send(again(flying))} {
		b.await()
		require.Equal(t, wire.StorageFull, b.answer(a).no.Reason)
		require.ErrorContains(t, b.answer(a).no, "disk is full")
	}
	require.NoError(t, b.Ready())
	hwm, err := b.HighWaterMark(t.Context())
	require.NoError(t, err)
	require.Equal(t, txn.ID(0), hwm)
	frame, err := b.Read(b.ctx, 0, 0, 1)
	require.NoError(t, err)
	require.Equal(t, txn.ID(0), frame.TrustedID())
	id, err := b.At(b.ctx, 0)
	require.NoError(t, err)
	require.Equal(t, txn.ID(0), id)

	b.unstall()
	require.Equal(t, answer{given: true, id: 1}, b.append(again(flying)))
	require.Equal(t, &wire.Error{Reason: wire.LockConflict, TransactionID: 1}, b.append(again(waits)).no)
	require.Equal(t, txn.ID(3), b.append(b.attempt(6, 2)).id)
	require.Equal(t, 1, b.log.Sessions())
	require.Zero(t, b.Stats().InFlight)
	b.judge()
	sub.judge(b.records())
}

// TestResendAttachesToWhatIsInFlight: taken again before there is room for the
// first sending, it waits for that one.
func TestResendAttachesToWhatIsInFlight(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.log.Hold(true)
	a := b.attempt(1, txn.None)
	b.send(a)
	b.eventually(func() bool { return b.log.InFlight() == 1 }, "it is in flight")
	b.stall()
	b.await()
	b.unstall()
	n := b.send(again(a), b.attempt(2, txn.None))
	b.eventually(func() bool { return b.log.InFlight() == 2 }, "the resend was looked at")
	require.False(t, b.answer(n).given)
	b.log.Hold(false)
	b.await()
	require.Equal(t, answer{given: true, id: 0}, b.answer(n))
	require.Len(t, b.records(), 2)
}

// TestStalledSessionIsLost: what was answered already is not answered again by
// the next session.
func TestStalledSessionIsLost(t *testing.T) {
	for keep := range 2 {
		b := start(t, nil).ready()
		b.log.Hold(true)
		a := b.attempt(1, txn.None)
		b.send(a)
		b.eventually(func() bool { return b.log.InFlight() == 1 }, "it is in flight")
		b.stall()
		b.await()
		b.lose(keep)
		b.eventually(func() bool { // until then it may be answered with what became of the first
			no := b.append(again(a)).no
			return no != nil && no.Reason == wire.StorageFull
		}, "the next session is stalled as well")
		b.log.Hold(false)
		b.unstall()
		require.Equal(t, txn.ID(0), b.append(again(a)).id)
		b.judge()
		b.done()
	}
}

// TestCloseWhileStalled: nothing is waited for that may take days.
func TestCloseWhileStalled(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.log.Hold(true)
	b.send(b.attempt(1, txn.None))
	b.eventually(func() bool { return b.log.InFlight() == 1 }, "it is in flight")
	b.log.Stall(errFull)
	require.NoError(t, b.Close(context.Background()))
	b.await()
}

// TestOpenOnAFullDisk: without room for the claim there is no session, and it is
// said why.
func TestOpenOnAFullDisk(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.log.FailOpen(fmt.Errorf("claim: %w", syscall.ENOSPC))
	b.log.End(0, nil)
	b.eventually(func() bool {
		got := b.append(b.attempt(1, txn.None))
		return got.no != nil && got.no.Reason == wire.StorageFull
	}, "it is refused for that")
	require.ErrorContains(t, b.Ready(), syscall.ENOSPC.Error())
	b.log.FailOpen(nil)
	b.ready()
}
