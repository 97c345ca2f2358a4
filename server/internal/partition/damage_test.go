package partition

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/server/internal/feed"
)

var errDamaged = fmt.Errorf("storage s1: %w", &record.CorruptError{Reason: "checksum"})

// TestDamageEnd: what is returned is damaged and the next one is not, for any
// damage, by a few reads; another error than damage is returned.
func TestDamageEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lost := rapid.SliceOfN(rapid.Bool(), 1, 300).Draw(t, "damaged")
		if rapid.Bool().Draw(t, "one range") {
			n := rapid.IntRange(1, len(lost)).Draw(t, "length")
			for i := range lost {
				lost[i] = i < n
			}
		}
		bad, last, reads := txn.ID(rapid.IntRange(0, len(lost)-1).Draw(t, "bad")), txn.ID(len(lost)-1), 0
		lost[bad] = true
		end, err := damageEnd(bad, last, func(id txn.ID) error {
			reads++
			if lost[id] {
				return errDamaged
			}
			return nil
		})
		require.NoError(t, err)
		require.GreaterOrEqual(t, end, bad)
		require.True(t, lost[end])
		require.True(t, end == last || !lost[end+1])
		require.LessOrEqual(t, reads, 2*bits.Len(uint(len(lost)))+1)
		_, err = damageEnd(0, 2, func(txn.ID) error { return context.Canceled })
		require.ErrorIs(t, err, context.Canceled)
	})
}

// damagedLog is a partition that lost a session and of whose ten transactions
// 3 to 5 are damaged. Each was sent when the one before was committed, and took
// the lock of its number; sent are they, and what never arrived.
func damagedLog(t *testing.T, change func(*Options)) (b *bundle, sent []wire.Attempt, never wire.Attempt) {
	t.Helper()
	b = start(t, change).ready()
	for id := range txn.ID(10) {
		if id == 4 {
			never = b.attempt(100, txn.None)
		}
		a := b.attempt(uint64(id), id-1, lock(write, txn.LockHash(id)))
		sent = append(sent, a)
		require.Equal(t, id, b.append(a).id)
	}
	b.log.Damage(3, 5)
	b.lose(0)
	return b, sent, never
}

// TestDamagedTailRaisesTheFloor: above damage locks are exact, and nobody gets
// past what is lost (I5); who is above it does not notice.
func TestDamagedTailRaisesTheFloor(t *testing.T) {
	var lines bytes.Buffer
	b, _, _ := damagedLog(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&lines, nil)) })
	defer b.done()
	stale := &wire.Error{Reason: wire.Stale, TransactionID: 5}
	require.Equal(t, stale, b.append(b.attempt(20, 3, lock(write, 4))).no, "transaction 4 took it, and can't be read")
	require.Equal(t, stale, b.append(b.attempt(21, 4, lock(read, 50))).no, "nobody knows what 5 took")
	require.Equal(t, &wire.Error{Reason: wire.LockConflict, TransactionID: 8}, b.append(b.attempt(22, 3, lock(read, 8))).no)
	keyed := b.attempt(23, 4)
	keyed.Key = []byte("k")
	require.Equal(t, stale, b.append(keyed).no, "a key is a lock")
	require.Equal(t, txn.ID(10), b.append(b.attempt(24, 5, lock(write, 4), lock(read, 50))).id)
	require.Equal(t, txn.ID(11), b.append(b.attempt(25, txn.None, lock(add, 4))).id, "what checks nothing is never stale")

	for _, id := range []txn.ID{2, 6, 9} {
		frame, err := b.Read(b.ctx, id, id, 1)
		require.NoError(t, err)
		require.Equal(t, id, frame.TrustedID())
	}
	for _, id := range []txn.ID{3, 4, 5} {
		_, err := b.Read(b.ctx, id, 9, 1)
		requireReason(t, err, wire.Corrupt)
	}
	require.Equal(t, uint64(1), b.Stats().DamagedTails)
	require.False(t, b.Stats().Damaged)
	b.judge()
	b.done()
	require.Equal(t, 1, strings.Count(lines.String(), "level=WARN msg=\"the log's tail is damaged"), lines.String())
	require.Contains(t, lines.String(), "first=3 last=5 ranges=1")
}

// TestDamagedRequestIsNotCommittedAgain: of a resend that may be one of the
// damaged transactions nobody knows what became, and so it is said (I4, I8). All
// others get their answers, also those that are searched for together with it.
func TestDamagedRequestIsNotCommittedAgain(t *testing.T) {
	b, sent, never := damagedLog(t, nil)
	defer b.done()
	n := b.send(again(sent[4]), again(sent[1]), again(never), again(sent[6]))
	b.await()
	require.Equal(t, wire.Corrupt, b.answer(n).no.Reason)
	require.Equal(t, answer{given: true, id: 1}, b.answer(n+1), "found below the damage")
	require.Equal(t, wire.Corrupt, b.answer(n+2).no.Reason)
	require.Equal(t, answer{given: true, id: 6}, b.answer(n+3), "sent when 5 was committed, so it is above")
	require.Equal(t, uint64(2), b.Stats().Refused[wire.Corrupt])

	never.Request = request(101)
	got := b.append(never)
	require.Equal(t, &wire.Error{Reason: wire.MarkTooOld, TransactionID: 9, Message: got.no.Message}, got.no)
	never.SentHWM = got.no.TransactionID
	require.Equal(t, txn.ID(10), b.append(never).id, "a first sending gets through with a fresh mark")
	b.judge()
}

// TestSearchPassesDamage: an attempt that is above all damage, but below the
// window, is no victim of one that is searched for in the same pass.
func TestSearchPassesDamage(t *testing.T) {
	b, sent, _ := damagedLog(t, func(o *Options) { o.WindowTransactions = 8 })
	defer b.done()
	never := b.attempt(200, txn.None)
	for n := range uint64(20) {
		b.append(b.attempt(300+n, txn.None))
	}
	n := b.send(again(sent[4]), again(never), again(sent[8]))
	b.await()
	require.Equal(t, wire.Corrupt, b.answer(n).no.Reason)
	require.Equal(t, answer{given: true, id: 30}, b.answer(n+1))
	require.Equal(t, answer{given: true, id: 8}, b.answer(n+2))
	b.judge()
}

// TestDamagedLastTransaction: the log goes on behind it. Its time is not known,
// but that of those before it and the clock are.
func TestDamagedLastTransaction(t *testing.T) {
	b, _, _ := damagedLog(t, nil)
	defer b.done()
	b.log.Damage(9, 9)
	b.lose(0)
	require.Equal(t, &wire.Error{Reason: wire.Stale, TransactionID: 9}, b.append(b.attempt(20, 8, lock(write, 50))).no)
	require.Equal(t, txn.ID(10), b.append(b.attempt(21, 9, lock(write, 9))).id)
	_, err := b.Read(b.ctx, 9, 9, 1)
	requireReason(t, err, wire.Corrupt)
	b.log.Damage(0, 10)
	b.lose(0)
	require.Equal(t, txn.ID(11), b.append(b.attempt(22, 10, lock(write, 9))).id, "nothing of the log can be read")
	require.Equal(t, uint64(3), b.Stats().DamagedTails)
	b.judge()
}

// TestClosedForDamage: where damage leaves nothing to open a session on, everybody
// is told so at once and for good, also who waits already; the chain of errors
// stays. It is tried again all the same.
func TestClosedForDamage(t *testing.T) {
	var lines bytes.Buffer
	b := start(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&lines, nil)) }).ready()
	defer b.done()
	require.Equal(t, txn.ID(0), b.append(b.attempt(1, txn.None)).id)
	ended := make(chan error, 1)
	go func() {
		s := b.tail.Subscribe(b.Partition, b.Partition, feed.Options{HighWaterMark: 0})
		ended <- s.Run(b.ctx, func(*wire.Fed) error { return nil })
	}()
	b.eventually(func() bool { return b.Stats().Subscribers == 1 }, "somebody waits for more")
	b.log.FailOpen(errDamaged)
	b.log.End(0, nil)
	requireReason(t, <-ended, wire.Corrupt)
	require.Equal(t, wire.Corrupt, b.append(b.attempt(2, txn.None)).no.Reason)
	_, err := b.Read(b.ctx, 0, 0, 1)
	requireReason(t, err, wire.Corrupt)
	_, err = b.HighWaterMark(t.Context())
	requireReason(t, err, wire.Corrupt)
	damaged, is := errors.AsType[*DamagedError](b.Ready())
	require.True(t, is)
	require.True(t, record.IsCorrupt(damaged))
	require.True(t, b.Stats().Damaged)

	b.log.FailOpen(errors.New("disk is gone"))
	b.eventually(func() bool { return !b.Stats().Damaged }, "another error is none of damage")
	require.ErrorContains(t, b.Ready(), "disk is gone")
	b.log.FailOpen(nil)
	b.ready()
	require.Equal(t, txn.ID(1), b.append(b.attempt(3, txn.None)).id)
	b.done()
	require.Equal(t, 1, strings.Count(lines.String(), "stays closed"), lines.String())
}
