package feed

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const waitMax = 10 * time.Second

// history is a log in memory, read as a store session would, and the tail of it.
type history struct {
	tail *Tail

	mu      sync.Mutex
	log     record.Frame // committed
	at      []int        // offset of each record
	fails   error
	reads   int
	confirm func() error  // nil: it always does
	block   chan struct{} // reads wait for it; nil: they don't
}

func newHistory(cache *Cache) *history { return &history{tail: cache.NewTail()} }

// add makes a frame of n records; committed ones are in the log, and published
// ones in the tail.
func (h *history) add(n, dataBytes int, publish bool) {
	h.mu.Lock()
	var frame record.Frame
	first := txn.ID(len(h.at))
	for i := range n {
		h.at = append(h.at, len(h.log)+len(frame))
		r := record.Record{ID: first + txn.ID(i), Header: txn.Header(int(first)+i) % 7, Data: make([]byte, dataBytes)}
		if r.ID%5 == 3 {
			r.Key = []byte("key")
		}
		frame = record.Append(frame, &r, []txn.Lock{{Hash: 1, Mode: txn.LockWrite}})
	}
	h.log = append(h.log, frame...)
	h.mu.Unlock()
	if publish {
		h.tail.Publish(frame, first, first+txn.ID(n)-1)
	}
}

func (h *history) high() txn.ID {
	h.mu.Lock()
	defer h.mu.Unlock()
	return txn.ID(len(h.at)) - 1
}

// Confirm implements Log.
func (h *history) Confirm(context.Context) error {
	if h.confirm == nil {
		return nil
	}
	return h.confirm()
}

// Read implements Log.
func (h *history) Read(ctx context.Context, first, last txn.ID, bytesMax int) (record.Frame, error) {
	if h.block != nil {
		select {
		case <-h.block:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reads++
	if h.fails != nil {
		return nil, h.fails
	}
	end := first + 1
	offset := func(id txn.ID) int {
		if int(id) == len(h.at) {
			return len(h.log)
		}
		return h.at[id]
	}
	for end <= last && offset(end+1)-offset(first) <= bytesMax {
		end++
	}
	return slices.Clone(h.log[offset(first):offset(end)]), nil
}

// Fed implements Stats.
func (h *history) Fed(int, bool) {}

func (h *history) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails = err
}

// sink is a subscriber that remembers, and checks each message.
type sink struct {
	t      require.TestingT
	cancel context.CancelFunc
	done   chan error

	mu        sync.Mutex
	got       []record.Record
	hwm       txn.ID
	committed txn.ID
	messages  int
	largest   int
	changed   chan struct{}
}

func (h *history) subscribe(t require.TestingT, o Options) *sink {
	s := &sink{t: t, done: make(chan error, 1), hwm: o.HighWaterMark, changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.done <- h.tail.Subscribe(h, h, o).Run(ctx, s.take) }()
	return s
}

func (s *sink) take(m *wire.Fed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, last := 0, s.hwm
	for _, f := range m.Frames {
		size += len(f)
		for r, err := range f.All() {
			if err != nil {
				return err
			}
			if r.ID <= last || r.ID > m.HighWaterMark {
				return errors.New("out of order")
			}
			last = r.ID
			s.got = append(s.got, r)
		}
	}
	if m.HighWaterMark <= s.hwm || m.HighWaterMark > m.Committed {
		return errors.New("the high-water mark does not advance, or is not committed")
	}
	s.hwm, s.committed = m.HighWaterMark, m.Committed
	s.messages++
	s.largest = max(s.largest, size)
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// reach waits until the subscriber has got, or skipped, up to id.
func (s *sink) reach(id txn.ID) {
	timeout := time.After(waitMax)
	for {
		s.mu.Lock()
		hwm := s.hwm
		s.mu.Unlock()
		if hwm >= id {
			return
		}
		select {
		case <-s.changed:
		case err := <-s.done:
			require.NoError(s.t, err, "the subscription ended")
		case <-timeout:
			require.Fail(s.t, "the subscriber does not get on", "it is at %d, not %d", hwm, id)
		}
	}
}

func (s *sink) stop() {
	s.cancel()
	require.ErrorIs(s.t, <-s.done, context.Canceled)
}

// TestFeedIsComplete is I6 against a model: whatever the cache holds, whatever
// is asked for, wherever one begins, one gets exactly that.
func TestFeedIsComplete(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cache := NewCache(rapid.SampledFrom([]int{0, 3000, 1 << 20}).Draw(t, "cache"))
		h, other := newHistory(cache), newHistory(cache)
		h.add(rapid.IntRange(1, 50).Draw(t, "before"), 10, false)
		h.tail.Open(h.high())
		other.tail.Open(txn.None)
		start := txn.ID(rapid.IntRange(-1, int(h.high())).Draw(t, "start"))
		o := Options{HighWaterMark: start, Mode: rapid.SampledFrom([]Mode{All, Headers, Filtered}).Draw(t, "mode")}
		for _, n := range rapid.SliceOfDistinct(rapid.IntRange(0, 6), rapid.ID[int]).Draw(t, "headers") {
			o.Headers = append(o.Headers, txn.Header(n))
		}
		s := h.subscribe(t, o)
		defer s.stop()
		for range rapid.IntRange(0, 20).Draw(t, "frames") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				other.add(5, 100, true) // takes room in the cache
			case 1:
				h.tail.Lost()
				h.add(rapid.IntRange(0, 3).Draw(t, "found"), 10, false) // committed, and nobody was told
				h.tail.Open(h.high())
			case 2:
				s.reach(h.high())
			default:
				h.add(rapid.IntRange(1, 10).Draw(t, "records"), 10, true)
			}
		}
		s.reach(h.high())
		h.judge(t, s, start, o)
	})
}

func (h *history) judge(t require.TestingT, s *sink, start txn.ID, o Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, h.high(), s.hwm)
	i := 0
	for want := range h.log.Trusted() {
		matches := o.Mode != Filtered || slices.Contains(o.Headers, want.Header)
		if want.ID <= start || (!matches && len(want.Key) == 0) {
			continue
		}
		got := s.got[i]
		i++
		require.Equal(t, want.ID, got.ID)
		require.Equal(t, want.Key, got.Key)
		whole := o.Mode != Headers && matches
		require.Equal(t, !whole, got.DataLeftOut)
		require.Equal(t, want.DataLen, got.DataLen)
		if whole {
			require.Equal(t, want, got)
		}
	}
	require.Len(t, s.got, i)
}

// TestSlowSubscriberSlowsNobody: one that takes nothing holds two chunks, and the
// others get everything (I9).
func TestSlowSubscriberSlowsNobody(t *testing.T) {
	h := newHistory(NewCache(100 << 10))
	h.tail.Open(txn.None)
	stuck, entered := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	slow := make(chan error, 1)
	go func() {
		slow <- h.tail.Subscribe(h, h, Options{HighWaterMark: txn.None}).Run(ctx, func(*wire.Fed) error {
			close(entered)
			<-stuck
			return errors.New("enough")
		})
	}()
	fast := h.subscribe(t, Options{HighWaterMark: txn.None})
	defer fast.stop()
	h.add(1, 10, true)
	<-entered
	for range 100 {
		h.add(10, 1000, true)
	}
	fast.reach(h.high())
	require.LessOrEqual(t, h.tail.cache.Bytes(), 100<<10)
	close(stuck)
	require.ErrorContains(t, <-slow, "enough")
	cancel()
}

// TestLogIsReadInChunks: a replay is read and sent in pieces of bounded size,
// the next one being read while one is sent.
func TestLogIsReadInChunks(t *testing.T) {
	h := newHistory(NewCache(0))
	h.add(3000, 1000, false)
	h.tail.Open(h.high())
	s := h.subscribe(t, Options{HighWaterMark: txn.None})
	defer s.stop()
	s.reach(h.high())
	s.mu.Lock()
	defer s.mu.Unlock()
	require.LessOrEqual(t, s.largest, 2*chunkBytes)
	require.Less(t, s.messages, 40)
	require.Len(t, s.got, 3000)
}

// TestSkippedTransactionsAdvanceTheMark: a filter that nothing passes still tells
// the subscriber how far the log is, and every business key.
func TestSkippedTransactionsAdvanceTheMark(t *testing.T) {
	h := newHistory(NewCache(1 << 20))
	h.add(9000, 1000, false)
	h.tail.Open(h.high())
	s := h.subscribe(t, Options{HighWaterMark: txn.None, Mode: Filtered, Headers: []txn.Header{99}})
	defer s.stop()
	s.reach(h.high())
	for i, r := range s.got {
		require.Equal(t, txn.ID(5*i+3), r.ID)
		require.True(t, r.DataLeftOut)
	}
	require.Len(t, s.got, 9000/5)
	require.GreaterOrEqual(t, s.messages, 2, "it is told on the way, too")
	h.add(1, 10, true)
	s.reach(h.high())
}

// TestFailoverIsWaitedOut: while the log can't be read a subscription waits; it
// ends only for what waiting does not cure.
func TestFailoverIsWaitedOut(t *testing.T) {
	h := newHistory(NewCache(0))
	h.add(10, 10, false)
	h.fail(wire.Refuse(wire.Unavailable, "no session"))
	h.tail.Open(h.high())
	s := h.subscribe(t, Options{HighWaterMark: txn.None})
	require.Eventually(t, func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.reads > 1 }, waitMax, time.Millisecond)
	h.fail(nil)
	s.reach(h.high())
	s.stop()

	h.fail(wire.Refuse(wire.Corrupt, "segment 1"))
	s = h.subscribe(t, Options{HighWaterMark: txn.None})
	reason, _ := wire.ReasonOf(<-s.done)
	require.Equal(t, wire.Corrupt, reason)
}

// TestSubscribeBeforeOpen waits for the log, and above its end is an error.
func TestSubscribeBeforeOpen(t *testing.T) {
	h := newHistory(NewCache(0))
	s, beyond := h.subscribe(t, Options{HighWaterMark: 3}), h.subscribe(t, Options{HighWaterMark: 10})
	h.add(10, 10, false)
	require.Eventually(t, func() bool { return h.tail.Subscribers() == 2 }, waitMax, time.Millisecond)
	h.tail.Open(h.high())
	s.reach(9)
	s.stop()
	reason, _ := wire.ReasonOf(<-beyond.done)
	require.Equal(t, wire.OutOfRange, reason)
	require.Zero(t, h.tail.Subscribers())
}

// TestSubscribeAboveTheEndOfAStaleLog: that a log ends below the subscriber's mark
// is said only when it is known. It is not while the storages don't answer; and
// the log may turn out to be longer than this server knew.
func TestSubscribeAboveTheEndOfAStaleLog(t *testing.T) {
	h := newHistory(NewCache(0))
	h.add(4, 10, false)
	asked := 0
	h.confirm = func() error {
		if asked++; asked < 3 {
			return wire.Refuse(wire.Unavailable, "no majority answers")
		}
		h.add(8, 10, false)
		h.tail.Open(h.high())
		return nil
	}
	h.tail.Open(h.high())
	s := h.subscribe(t, Options{HighWaterMark: 10})
	s.reach(11)
	s.stop()
	h.confirm = func() error { return wire.Refuse(wire.ShuttingDown, "elsewhere") }
	reason, _ := wire.ReasonOf(<-h.subscribe(t, Options{HighWaterMark: 30}).done)
	require.Equal(t, wire.ShuttingDown, reason)
}

// TestStopWhileReading: a subscription that ends takes its read with it.
func TestStopWhileReading(t *testing.T) {
	h := newHistory(NewCache(0))
	h.add(10, 10, false)
	h.block = make(chan struct{})
	h.tail.Open(h.high())
	s := h.subscribe(t, Options{HighWaterMark: txn.None})
	require.Eventually(t, func() bool { return h.tail.Subscribers() == 1 }, waitMax, time.Millisecond)
	s.stop()
}

// TestCacheIsShared: the oldest frame of all partitions goes first.
func TestCacheIsShared(t *testing.T) {
	c := NewCache(10_000)
	a, b := newHistory(c), newHistory(c)
	a.tail.Open(txn.None)
	b.tail.Open(txn.None)
	a.add(1, 4000, true)
	b.add(1, 4000, true)
	require.True(t, a.tail.holds(0))
	b.add(1, 4000, true)
	require.False(t, a.tail.holds(0))
	require.True(t, b.tail.holds(0))
	require.LessOrEqual(t, c.Bytes(), 10_000)
	b.tail.Open(5) // a session that found more: what is cached does not join up
	require.False(t, b.tail.holds(1))
	require.Zero(t, c.Bytes())
	a.add(1, 4000, true)
	require.True(t, a.tail.holds(1))
	a.add(1, 4000, true)
	a.add(1, 4000, true)
	require.LessOrEqual(t, c.Bytes(), 10_000)
}
