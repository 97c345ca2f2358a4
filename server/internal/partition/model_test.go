package partition

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/server/internal/feed"
)

// TestHistories drives a partition through random appends, resends, duplicates,
// delays, clock jumps and lost sessions, and then judges the whole history from
// the log alone, as a naive reader would: I2, I4, I5, I6, I8.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := 1 << rapid.IntRange(3, 6).Draw(t, "window")
		marks := rapid.IntRange(window, 4*window).Draw(t, "marks")
		b := start(t, func(o *Options) {
			o.WindowTransactions, o.LockMarksMax = window, marks
			o.FrameBytesMax = rapid.SampledFrom([]int{100, 300, 1 << 16}).Draw(t, "frame")
		}).ready()
		defer b.done()
		sub := subscribe(b)
		defer sub.stop()
		t.Repeat(b.actions())
		b.settle()
		b.judge()
		sub.judge(b.records())
	})
}

// TestHistoriesOfADamagedLog is the same with a log of which ever more can't be
// read; a feed of it would end.
func TestHistoriesOfADamagedLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := start(t, func(o *Options) { o.WindowTransactions = 1 << rapid.IntRange(3, 6).Draw(t, "window") }).ready()
		defer b.done()
		actions := b.actions()
		actions["damage"] = func(t *rapid.T) {
			high, _ := b.tail.Committed()
			if high == txn.None {
				t.Skip("there is nothing")
			}
			last := high - txn.ID(rapid.IntRange(0, min(int(high), 70)).Draw(t, "behind"))
			b.log.Damage(max(0, last-txn.ID(rapid.IntRange(0, 9).Draw(t, "more"))), last)
		}
		t.Repeat(actions)
		b.settle()
		b.judge()
	})
}

// actions are what may happen to a partition.
func (b *bundle) actions() map[string]func(*rapid.T) {
	fresh := uint64(0)
	return map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			var group []wire.Attempt
			for range rapid.IntRange(1, 6).Draw(t, "group") {
				fresh++
				group = append(group, b.drawAttempt(t, fresh))
			}
			b.send(group...)
		},
		"resend": func(t *rapid.T) {
			if len(b.sent) == 0 {
				t.Skip("nothing was sent")
			}
			b.send(again(rapid.SampledFrom(b.sent).Draw(t, "attempt")))
		},
		"hold":    func(*rapid.T) { b.log.Hold(true) },
		"release": func(*rapid.T) { b.log.Hold(false) },
		"await": func(*rapid.T) {
			b.log.Hold(false)
			b.log.Stall(nil)
			b.await()
		},
		"stall":     func(*rapid.T) { b.log.Stall(session.ErrFull) },
		"make room": func(*rapid.T) { b.log.Stall(nil) },
		"lose": func(t *rapid.T) {
			b.lose(rapid.IntRange(-1, 3).Draw(t, "frames that survive"))
		},
		"clock": func(t *rapid.T) {
			b.mu.Lock()
			b.clock = b.clock.Add(time.Duration(rapid.IntRange(-50, 100).Draw(t, "ms")) * time.Millisecond)
			b.mu.Unlock()
		},
	}
}

// settle waits until everything is answered.
func (b *bundle) settle() {
	b.log.Hold(false)
	b.log.Stall(nil)
	b.ready()
	b.await()
}

func (b *bundle) drawAttempt(t *rapid.T, n uint64) wire.Attempt {
	committed, _ := b.tail.Committed()
	hwm := max(txn.None, committed-txn.ID(rapid.IntRange(0, 20).Draw(t, "behind")))
	locks := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) txn.Lock {
		mode := rapid.SampledFrom([]txn.LockMode{txn.LockRead, txn.LockWrite, txn.LockAppend}).Draw(t, "mode")
		return lock(mode, txn.LockHash(rapid.IntRange(0, 30).Draw(t, "lock")))
	}), 0, 3).Draw(t, "locks")
	a := b.attempt(n, hwm, locks...)
	a.Key = []byte(rapid.SampledFrom([]string{"", "", "", "a", "b", "c"}).Draw(t, "key"))
	return a
}

// judge checks every answer against the final log.
func (b *bundle) judge() {
	log := b.records()
	require.Empty(b.t, b.wrong)
	first := map[txn.RequestID]wire.Attempt{}
	for _, a := range b.sent {
		if _, ok := first[a.Request]; !ok {
			first[a.Request] = a
		}
	}
	committed := map[txn.RequestID]txn.ID{}
	for i, r := range log {
		require.Equal(b.t, txn.ID(i), r.ID, "I2: dense")
		a := first[r.Request]
		require.Equal(b.t, a.Data, r.Data, "I2: what was sent")
		_, twice := committed[r.Request]
		require.False(b.t, twice, "I4: once")
		committed[r.Request] = r.ID
		require.Equal(b.t, txn.None, conflicting(log, a, r.ID), "I5: transaction %d passes another that took its lock", r.ID)
		if i > 0 {
			require.GreaterOrEqual(b.t, r.Time, log[i-1].Time, "timestamps never go back")
		}
	}
	for n, a := range b.sent {
		b.judgeAnswer(log, a, b.answers[n], committed)
	}
}

func (b *bundle) judgeAnswer(log []record.Record, a wire.Attempt, got answer, committed map[txn.RequestID]txn.ID) {
	id, in := committed[a.Request]
	if got.no == nil {
		require.True(b.t, in, "I1, I8: a committed one is in the log")
		require.Equal(b.t, id, got.id, "I8: as what it was said to be")
		return
	}
	switch got.no.Reason {
	case wire.LockConflict:
		cause := got.no.TransactionID
		require.False(b.t, in, "I8: refused never appears")
		require.Less(b.t, int(cause), len(log), "I8: the cause is committed")
		require.Equal(b.t, cause, conflicting(log[cause:cause+1], a, cause+1), "I8: the cause took a lock, after the client's mark")
	case wire.Stale:
		require.False(b.t, in, "I8: refused never appears")
		require.Greater(b.t, got.no.TransactionID, a.ClientHWM)
		require.Less(b.t, int(got.no.TransactionID), len(log))
	case wire.MarkTooOld:
		require.False(b.t, a.Resend)
	case wire.Corrupt: // nobody knows
		require.True(b.t, a.Resend, "a first sending can do with a fresh mark")
		require.Less(b.t, a.Floor(), b.log.Damaged(), "I8: it can't be where the log is damaged")
	case wire.Unavailable, wire.ShuttingDown, wire.StorageFull: // of a lost session, or the end; the log knows
	default:
		require.Fail(b.t, fmt.Sprintf("unexpected: %v", got.no))
	}
}

// conflicting returns the last transaction in part of a log, above the attempt's
// mark and below end, that took one of its read or write locks, or has its key.
func conflicting(log []record.Record, a wire.Attempt, end txn.ID) txn.ID {
	for _, r := range slices.Backward(log) {
		if r.ID >= end || r.ID <= a.ClientHWM {
			continue
		}
		if len(a.Key) > 0 && string(a.Key) == string(r.Key) {
			return r.ID
		}
		for i := range r.LockCount() {
			if slices.ContainsFunc(a.Locks, func(l txn.Lock) bool { return l.Mode.Checks() && l.Hash == r.Lock(i) }) {
				return r.ID
			}
		}
	}
	return txn.None
}

// subscriber collects the feed.
type subscriber struct {
	b      *bundle
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	got    []record.Record
}

func subscribe(b *bundle) *subscriber {
	s := &subscriber{b: b}
	ctx, cancel := context.WithCancel(b.ctx)
	s.cancel = cancel
	feeding := b.tail.Subscribe(b.Partition, b.Partition, feed.Options{HighWaterMark: txn.None})
	s.wg.Go(func() {
		_ = feeding.Run(ctx, func(m *wire.Fed) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, f := range m.Frames {
				for r, err := range f.All() {
					if err != nil {
						return err
					}
					s.got = append(s.got, r)
				}
			}
			return nil
		})
	})
	return s
}

func (s *subscriber) stop() {
	s.cancel()
	s.wg.Wait()
}

// judge is I6: exactly the committed log.
func (s *subscriber) judge(log []record.Record) {
	s.b.eventually(func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.got) >= len(log)
	}, "the subscriber gets everything")
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(s.b.t, log, s.got, "I6")
}
