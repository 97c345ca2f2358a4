package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

const write, read, add = txn.LockWrite, txn.LockRead, txn.LockAppend

// TestFailoverKeepsLocks: after a new session the table is what it was (I5).
func TestFailoverKeepsLocks(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	require.Nil(t, b.append(b.attempt(1, txn.None, lock(write, 5))).no)
	require.Nil(t, b.append(b.attempt(2, txn.None, lock(add, 6))).no)
	b.lose(0)
	for hash, cause := range map[txn.LockHash]txn.ID{5: 0, 6: 1} {
		got := b.append(b.attempt(uint64(hash), txn.None, lock(write, hash)))
		require.Equal(t, &wire.Error{Reason: wire.LockConflict, TransactionID: cause}, got.no)
	}
	require.Nil(t, b.append(b.attempt(3, 1, lock(write, 5), lock(read, 6))).no, "a client that is up to date has no false conflict")
}

// TestKeyIsAWriteLock: a business key is taken as a lock of its own, in the same
// group, later, and after a failover; it is not counted as one of the client's.
func TestKeyIsAWriteLock(t *testing.T) {
	b := start(t, func(o *Options) { o.LocksMax = 2 }).ready()
	defer b.done()
	keyed := func(n uint64, hwm txn.ID, key string, locks ...txn.Lock) wire.Attempt {
		a := b.attempt(n, hwm, locks...)
		a.Key = []byte(key)
		return a
	}
	n := b.send(keyed(1, txn.None, "k", lock(write, 1), lock(read, 2)), keyed(2, txn.None, "k"), keyed(3, txn.None, "other"))
	b.await()
	require.Equal(t, txn.ID(0), b.answer(n).id)
	require.Equal(t, &wire.Error{Reason: wire.LockConflict, TransactionID: 0}, b.answer(n+1).no)
	require.Equal(t, txn.ID(1), b.answer(n+2).id)
	b.lose(0)
	require.Equal(t, &wire.Error{Reason: wire.LockConflict, TransactionID: 0}, b.append(keyed(4, txn.None, "k")).no)
	require.Nil(t, b.append(keyed(5, 0, "k")).no, "whoever has seen the first may: txcontext looks into the view")
}

// TestFailoverKeepsRequests: a resend to the next session gets the first one's
// answer (I4), in the window and without reading the log again.
func TestFailoverKeepsRequests(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	a := b.attempt(1, txn.None)
	require.Equal(t, txn.ID(0), b.append(a).id)
	b.lose(0)
	reads := b.log.Reads()
	require.Equal(t, answer{given: true, id: 0}, b.append(again(a)))
	require.Equal(t, reads, b.log.Reads())
	require.Len(t, b.records(), 1)
}

// TestOldResendIsSearchedFor: beyond the window the log itself tells what became
// of an attempt (I4); nothing is guessed.
func TestOldResendIsSearchedFor(t *testing.T) {
	b := start(t, func(o *Options) { o.WindowTransactions = 8 }).ready()
	defer b.done()
	committed, never := b.attempt(1, txn.None), b.attempt(2, txn.None)
	require.Equal(t, txn.ID(0), b.append(committed).id)
	for n := range uint64(20) {
		b.append(b.attempt(100+n, txn.None))
	}
	require.Equal(t, answer{given: true, id: 0}, b.append(again(committed)))
	require.Equal(t, answer{given: true, id: 21}, b.append(again(never)), "what is not in the log is appended now")
	n := b.send(again(never), again(never))
	b.await()
	require.Equal(t, txn.ID(21), b.answer(n).id)
	require.Equal(t, txn.ID(21), b.answer(n+1).id)
	require.Equal(t, uint64(2), b.Stats().Searches)

	first := never
	first.Request = request(3)
	require.Equal(t, wire.MarkTooOld, b.append(first).no.Reason)
	first.SentHWM = b.answers[len(b.answers)-1].no.TransactionID
	require.Equal(t, txn.ID(22), b.append(first).id, "with the mark from the refusal it is taken")
}

// TestLimitsAreNotForWhatIsCommitted: a server that was started with lower limits
// still finds what was committed under the higher ones (I8), in the window and
// beyond it; what is not in the log is refused.
func TestLimitsAreNotForWhatIsCommitted(t *testing.T) {
	b := start(t, nil).ready()
	old, late := b.attempt(1, txn.None, lock(txn.LockWrite, 1), lock(txn.LockWrite, 2)), b.attempt(2, txn.None)
	old.Data, late.Data = make([]byte, 500), make([]byte, 500)
	require.Equal(t, txn.ID(0), b.append(old).id)
	for n := range uint64(20) {
		b.append(b.attempt(100+n, txn.None))
	}
	late.SentHWM = 20
	require.Equal(t, txn.ID(21), b.append(late).id)
	log := b.log
	b.done()

	b = start(t, func(o *Options) {
		o.DataBytesMax, o.LocksMax, o.WindowTransactions, o.SearchBytesMax = 100, 1, 8, 200
		o.Open = func(ctx context.Context, p txn.Partition, committed func(txn.ID)) (Session, error) {
			return log.Open(ctx, p, committed)
		}
	}).ready()
	defer b.done()
	require.Equal(t, answer{given: true, id: 21}, b.append(again(late)))
	require.Equal(t, answer{given: true, id: 0}, b.append(again(old)), "one search is taken, however large")
	old.Request = request(3)
	require.Equal(t, wire.TooLarge, b.append(again(old)).no.Reason)
	old.Data = nil
	require.Equal(t, wire.TooManyLocks, b.append(again(old)).no.Reason)
}

func TestSearchesAreBounded(t *testing.T) {
	b := start(t, func(o *Options) { o.WindowTransactions, o.SearchAttemptsMax = 8, 2 }).ready()
	defer b.done()
	old := b.attempt(0, txn.None)
	for n := range uint64(20) {
		b.append(b.attempt(100+n, txn.None))
	}
	var group []wire.Attempt
	for n := range uint64(50) {
		a := again(old)
		a.Request = request(n + 1)
		group = append(group, a)
	}
	n := b.send(group...)
	b.await()
	taken := 0
	for i := range group {
		if got := b.answer(n + i); got.no == nil {
			taken++
		} else {
			require.Equal(t, wire.Unavailable, got.no.Reason)
		}
	}
	require.GreaterOrEqual(t, taken, 2)
	require.Len(t, b.records(), 20+taken)
}

// TestConflictWaitsForItsCause: a conflict with a transaction in flight is
// answered when that one is committed, not before (I8).
func TestConflictWaitsForItsCause(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.log.Hold(true)
	first := b.send(b.attempt(1, txn.None, lock(write, 5)))
	b.eventually(func() bool { return b.log.InFlight() == 1 }, "the first is in flight")
	second := b.send(b.attempt(2, txn.None, lock(write, 5)), b.attempt(3, txn.None))
	b.eventually(func() bool { return b.log.InFlight() == 2 }, "the group of the second is in flight")
	require.False(t, b.answer(second).given)
	b.log.Hold(false)
	b.await()
	require.Equal(t, txn.ID(0), b.answer(first).id)
	require.Equal(t, &wire.Error{Reason: wire.LockConflict, TransactionID: 0}, b.answer(second).no)
	require.Equal(t, txn.ID(1), b.answer(second+1).id)
}

// TestConflictOfALostCause: the cause never was committed, so there is no
// conflict to tell of; sent again, the attempt is taken.
func TestConflictOfALostCause(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.log.Hold(true)
	b.send(b.attempt(1, txn.None, lock(write, 5)))
	b.eventually(func() bool { return b.log.InFlight() == 1 }, "the first is in flight")
	a := b.attempt(2, txn.None, lock(write, 5))
	second := b.send(a, b.attempt(3, txn.None))
	b.eventually(func() bool { return b.log.InFlight() == 2 }, "the second is checked")
	b.lose(0)
	b.await()
	require.Equal(t, wire.Unavailable, b.answer(second).no.Reason)
	b.log.Hold(false)
	require.Equal(t, txn.ID(0), b.append(again(a)).id)
}

// TestLostSessionAnswersWhatSurvived: what was in flight is neither failed nor
// forgotten; the next session's log tells of each.
func TestLostSessionAnswersWhatSurvived(t *testing.T) {
	b := start(t, func(o *Options) { o.FrameBytesMax = record.HeaderSize + 8 }).ready()
	defer b.done()
	b.log.Hold(true)
	first := b.send(b.attempt(1, txn.None), b.attempt(2, txn.None), b.attempt(3, txn.None))
	b.eventually(func() bool { return b.log.InFlight() == 3 }, "three frames are in flight")
	dup := b.send(again(b.sent[0]), again(b.sent[2]), b.attempt(4, txn.None))
	b.eventually(func() bool { return b.log.InFlight() == 4 }, "the duplicates were seen")
	b.log.FailOpen(errors.New("no storages"))
	b.log.End(2, errors.New("power cut"))
	b.eventually(func() bool { return b.Ready() != nil && b.waiting() == 6 }, "the session is lost, and nothing answered")
	require.ErrorContains(t, b.Ready(), "is not open")
	b.log.FailOpen(nil)
	b.await()
	require.Equal(t, txn.ID(0), b.answer(first).id)
	require.Equal(t, txn.ID(1), b.answer(first+1).id)
	require.Equal(t, wire.Unavailable, b.answer(first+2).no.Reason)
	require.Equal(t, answer{given: true, id: 0}, b.answer(dup))
	require.Equal(t, wire.Unavailable, b.answer(dup+1).no.Reason)
	require.Equal(t, wire.Unavailable, b.answer(dup+2).no.Reason)
	require.Equal(t, uint64(1), b.Stats().Losses)
	require.Zero(t, b.Stats().InFlight)
}

func TestRefusedWhileNotOpen(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.log.FailOpen(fmt.Errorf("claim: %w", syscall.ENOSPC))
	b.log.End(0, fmt.Errorf("append: %w", syscall.ENOSPC))
	b.eventually(func() bool { return b.Ready() != nil }, "the session is lost")
	got := b.append(b.attempt(1, txn.None))
	require.Equal(t, wire.StorageFull, got.no.Reason, "a full disk is said to be one")
	_, err := b.HighWaterMark(t.Context())
	requireReason(t, err, wire.Unavailable)
	_, err = b.Read(b.ctx, 0, 0, 1)
	requireReason(t, err, wire.Unavailable)
	_, err = b.At(b.ctx, 0)
	requireReason(t, err, wire.Unavailable)
	b.log.FailOpen(nil)
	b.ready()
	require.Nil(t, b.append(b.attempt(1, txn.None)).no)
}

func TestStale(t *testing.T) {
	b := start(t, func(o *Options) { o.LockMarksMax = 4 }).ready()
	defer b.done()
	for n := range uint64(10) {
		b.append(b.attempt(n+1, txn.None, lock(add, txn.LockHash(n))))
	}
	got := b.append(b.attempt(20, 4, lock(read, 100)))
	require.Equal(t, &wire.Error{Reason: wire.Stale, TransactionID: 5}, got.no)
	require.Nil(t, b.append(b.attempt(21, 5, lock(read, 100))).no)
	require.Nil(t, b.append(b.attempt(22, 0)).no, "without locks there is nothing to be stale about")
	got = b.append(b.attempt(23, 0, lock(read, 9)))
	require.Equal(t, &wire.Error{Reason: wire.LockConflict, TransactionID: 9}, got.no, "a conflict that is known says more")
}

// TestStaleIsFinal: a floor that transactions in flight have raised may come down
// again when they are lost. What was refused for it may not commit then, say as a
// copy that was long under way (I8); so it is not refused before they are safe.
func TestStaleIsFinal(t *testing.T) {
	b := start(t, func(o *Options) { o.LockMarksMax = 4 }).ready()
	defer b.done()
	b.append(b.attempt(1, txn.None, lock(add, 1)))
	b.log.Hold(true)
	b.send(b.attempt(2, txn.None, lock(add, 2), lock(add, 3), lock(add, 4), lock(add, 5)))
	b.eventually(func() bool { return b.log.InFlight() == 1 }, "the floor is raised")
	a := b.attempt(3, txn.None, lock(read, 100))
	n := b.send(a, b.attempt(4, txn.None))
	b.eventually(func() bool { return b.log.InFlight() == 2 }, "it was looked at")
	require.False(t, b.answer(n).given)
	b.lose(0)
	require.Equal(t, wire.Unavailable, b.answer(n).no.Reason)
	b.log.Hold(false)
	require.Nil(t, b.append(again(a)).no)
}

// TestInboxIsBounded: who finds it full waits, as long as its context does (I9).
func TestInboxIsBounded(t *testing.T) {
	b := start(t, func(o *Options) { o.InboxBytesMax, o.InFlightBytesMax = 1000, 500 }).ready()
	defer b.done()
	b.log.Hold(true)
	sent := 0
	for ; ; sent++ {
		ctx, cancel := context.WithTimeout(b.ctx, 20*time.Millisecond)
		a := b.attempt(uint64(sent+1), txn.None)
		a.Seq = uint64(sent)
		b.mu.Lock()
		b.sent, b.answers, b.pending = append(b.sent, a), append(b.answers, answer{}), b.pending+1
		b.mu.Unlock()
		err := b.Submit(ctx, Group{From: b, Attempts: []wire.Attempt{a}})
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			break
		}
		require.Less(t, sent, 100)
	}
	require.LessOrEqual(t, b.Stats().InboxBytes, int64(1000))
	b.log.Hold(false)
	b.eventually(func() bool { return b.waiting() == 1 }, "all that was taken is answered")
	require.Len(t, b.records(), sent)
}

// TestTimestamps: a record's time is the clock's, but never before the last
// one's, across sessions too.
func TestTimestamps(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.append(b.attempt(1, txn.None))
	b.mu.Lock()
	b.clock = b.clock.Add(-time.Hour)
	b.mu.Unlock()
	b.append(b.attempt(2, txn.None))
	b.lose(0)
	b.append(b.attempt(3, txn.None))
	b.mu.Lock()
	b.clock = b.clock.Add(2 * time.Hour)
	b.mu.Unlock()
	b.append(b.attempt(4, txn.None))
	log := b.records()
	const start = txn.Timestamp(1_000_000)
	require.Equal(t, []txn.Timestamp{start, start, start, start + 3600e6}, []txn.Timestamp{log[0].Time, log[1].Time, log[2].Time, log[3].Time})
	for at, want := range map[txn.Timestamp]txn.ID{0: 0, start: 0, start + 1: 3, start + 3600e6: 3, start + 3600e6 + 1: 4} {
		id, err := b.At(b.ctx, at)
		require.NoError(t, err)
		require.Equal(t, want, id)
	}
}

// TestFeedIsCommittedOnly: what is in flight is not fed; nor, when it is lost,
// ever (I6).
func TestFeedIsCommittedOnly(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	sub := subscribe(b)
	defer sub.stop()
	b.log.Hold(true)
	b.send(b.attempt(1, txn.None))
	b.eventually(func() bool { return b.log.InFlight() == 1 }, "it is in flight")
	hwm, _ := b.tail.Committed()
	require.Equal(t, txn.None, hwm)
	b.lose(0)
	b.log.Hold(false)
	require.Equal(t, txn.ID(0), b.append(b.attempt(2, txn.None)).id)
	sub.judge(b.records())
}

// TestFramesAreCut: a frame holds as much as it may, and a record that is larger
// has one of its own.
func TestFramesAreCut(t *testing.T) {
	const size = record.HeaderSize + 8
	b := start(t, func(o *Options) { o.FrameBytesMax = 3 * size }).ready()
	defer b.done()
	var group []wire.Attempt
	for n := range uint64(8) {
		group = append(group, b.attempt(n+1, txn.None))
	}
	group[4].Data = make([]byte, 10*size)
	b.send(group...)
	b.await()
	require.Len(t, b.records(), 8)
	require.Equal(t, uint64(4), b.Stats().Frames, "3, 1, the large one, 3")
}

func TestCorruptLogIsSaidToBe(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.append(b.attempt(1, txn.None))
	b.log.FailRead(fmt.Errorf("segment 1: %w", &record.CorruptError{Reason: "checksum"}))
	_, err := b.Read(b.ctx, 0, 0, 1)
	requireReason(t, err, wire.Corrupt)
	b.log.FailRead(errors.New("disk is gone"))
	_, err = b.Read(b.ctx, 0, 0, 1)
	requireReason(t, err, wire.Unavailable)
	b.log.FailRead(nil)
}

// TestRebuildMustReadTheTail: a partition whose tail can't be read does not open;
// it would forget requests and locks.
func TestRebuildMustReadTheTail(t *testing.T) {
	b := start(t, nil).ready()
	defer b.done()
	b.append(b.attempt(1, txn.None))
	b.log.FailRead(errors.New("disk is gone"))
	sessions := b.log.Sessions()
	b.log.End(0, nil)
	b.eventually(func() bool { return b.log.Sessions() > sessions+2 }, "it tries again and again")
	require.ErrorContains(t, b.Ready(), "disk is gone")
	b.log.FailRead(nil)
	b.ready()
}

// TestCloseUnderLoad: closing, from another goroutine than the owner's, while
// groups keep coming: each is answered once, and the log holds what was promised.
func TestCloseUnderLoad(t *testing.T) {
	for range 20 {
		b := start(t, nil).ready()
		stop := make(chan struct{})
		var senders sync.WaitGroup
		var groups atomic.Uint64 // no request is sent twice as a first one
		for range 2 {
			senders.Go(func() {
				for {
					n := groups.Add(1)
					b.send(b.attempt(2*n+1, txn.None), b.attempt(2*n+2, txn.None))
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		b.eventually(func() bool { return b.Stats().Committed > 20 }, "it is under load")
		require.NoError(t, b.Close(b.ctx))
		close(stop)
		senders.Wait()
		b.await()
		require.Empty(t, b.wrong)
		b.judge()
		b.done()
	}
}

func TestCloseEarly(t *testing.T) {
	b := start(t, nil)
	b.log.FailOpen(errors.New("no storages"))
	require.NoError(t, b.Close(b.ctx))
	require.NoError(t, b.Close(b.ctx))
	require.Equal(t, wire.ShuttingDown, b.append(b.attempt(1, txn.None)).no.Reason)
	b.done()
}

func requireReason(t *testing.T, err error, want wire.Reason) {
	t.Helper()
	got, _ := wire.ReasonOf(err)
	require.Equal(t, want, got, "%v", err)
}
