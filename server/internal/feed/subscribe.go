package feed

import (
	"context"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

const (
	// chunkBytes is about how much is sent in one message, and read at once.
	chunkBytes = 256 << 10
	// scanBytesMax is how much is skipped before the subscriber is told so.
	scanBytesMax = 4 << 20
	// retryFirst and retryMax bound the waits while the log can't be read.
	retryFirst = 20 * time.Millisecond
	retryMax   = time.Second
)

// Log is where a subscription reads what the tail does not hold any more.
type Log interface {
	// Read returns committed records, whole, from first on: at least one, up to
	// last, about bytesMax bytes. The bytes never change. Concurrent calls happen.
	// While there is no store session it refuses with wire.Unavailable.
	Read(ctx context.Context, first, last txn.ID, bytesMax int) (record.Frame, error)
	// Confirm returns nil if the tail has all that was committed before the call; it
	// refuses with wire.Unavailable if that can't be said.
	Confirm(ctx context.Context) error
}

// Mode says what of the transactions a subscriber wants.
type Mode uint8

// The modes.
const (
	All      Mode = iota
	Headers       // without data and locks
	Filtered      // whole those whose header is in the set; without data others that have a key
)

// Options says what a subscriber wants.
type Options struct {
	HighWaterMark txn.ID // transactions above it are sent
	Mode          Mode
	Headers       []txn.Header // for Filtered
}

// Stats counts what subscriptions read. Fields are added up by Run.
type Stats interface {
	// Fed adds a chunk that was sent, and where it came from.
	Fed(bytes int, cached bool)
}

// Subscription is one subscriber's place in a partition. It is not to be used
// by several goroutines.
type Subscription struct {
	tail    *Tail
	log     Log
	stats   Stats
	filter  filter
	next    txn.ID
	changed chan struct{}
	ahead   chan fetched // the read under way, or nil
}

type fetched struct {
	chunk chunk
	err   error
}

// Subscribe prepares a subscription; Run feeds it.
func (t *Tail) Subscribe(log Log, stats Stats, o Options) *Subscription {
	return &Subscription{tail: t, log: log, stats: stats, filter: newFilter(o), next: o.HighWaterMark + 1}
}

// Run calls send with everything above the high-water mark, in order, as it is
// committed, until ctx ends or send fails, and returns why it ended. send may
// block. What it is given must not be kept, except the frames, which never
// change.
func (s *Subscription) Run(ctx context.Context, send func(*wire.Fed) error) error {
	ctx, cancel := context.WithCancel(ctx)
	s.changed = s.tail.watch()
	defer func() {
		cancel()
		s.tail.unwatch(s.changed)
		if s.ahead != nil {
			<-s.ahead
		}
	}()
	out := &wire.Fed{}
	for {
		if err := s.fill(ctx, out); err != nil {
			return err
		}
		if err := send(out); err != nil {
			return err
		}
	}
}

// fill waits for the next committed records, and gathers until a message is
// worth sending: it is full, much was skipped, or the end is reached.
func (s *Subscription) fill(ctx context.Context, out *wire.Fed) error {
	*out = wire.Fed{Frames: out.Frames[:0]}
	kept, scanned := 0, 0
	for {
		c, committed, err := s.read(ctx)
		if err != nil {
			return err
		}
		scanned += c.bytes
		for _, f := range c.frames {
			if f = s.filter.apply(f); len(f) > 0 {
				out.Frames = append(out.Frames, f)
				kept += len(f)
			}
		}
		s.next = c.last + 1
		out.HighWaterMark, out.Committed = c.last, committed
		if s.next > committed || kept > chunkBytes/2 || scanned >= scanBytesMax {
			return nil
		}
	}
}

// read returns the chunk at next: from the tail, from the read ahead or from
// the log; it waits until there is one.
func (s *Subscription) read(ctx context.Context) (chunk, txn.ID, error) {
	confirmed, wait := false, retryFirst
	for {
		c, committed, open := s.tail.read(s.next, chunkBytes)
		switch {
		case s.ahead == nil && len(c.frames) > 0:
			s.stats.Fed(c.bytes, true)
			return c, committed, nil
		case s.next <= committed:
			c, err := s.fetch(ctx, committed)
			return c, committed, err
		case open && s.next > committed+1 && !confirmed:
			// Another server may have taken over, and we have not heard of it.
			err := s.log.Confirm(ctx)
			if confirmed = err == nil; confirmed {
				continue
			}
			if reason, _ := wire.ReasonOf(err); reason != wire.Unavailable {
				return c, committed, err
			}
			if err := sleep(ctx, wait); err != nil {
				return c, committed, err
			}
			wait = min(2*wait, retryMax)
			continue
		case open && s.next > committed+1:
			return c, committed, wire.Refuse(wire.OutOfRange,
				"subscribed above high-water mark %d, but the log ends at %d: is it another log?", s.next-1, committed)
		}
		if err := s.tail.refused(); err != nil {
			return c, committed, err
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return c, committed, ctx.Err()
		}
	}
}

// fetch reads from the log, and starts reading what follows. While the log
// can't be read it tries again and again: that is a failover, and what was
// committed will be there.
func (s *Subscription) fetch(ctx context.Context, committed txn.ID) (chunk, error) {
	for wait := retryFirst; ; wait = min(2*wait, retryMax) {
		if s.ahead == nil {
			s.readAhead(ctx, s.next, committed)
		}
		got := <-s.ahead
		s.ahead = nil
		if reason, _ := wire.ReasonOf(got.err); reason == wire.Unavailable {
			if err := sleep(ctx, wait); err != nil {
				return chunk{}, err
			}
			continue
		}
		if got.err != nil {
			return chunk{}, got.err
		}
		s.stats.Fed(got.chunk.bytes, false)
		s.readAhead(ctx, got.chunk.last+1, committed)
		return got.chunk, nil
	}
}

// readAhead starts to read at next, unless that is cached or not there yet. One
// read is under way at most, and its goroutine ends with it.
func (s *Subscription) readAhead(ctx context.Context, next, committed txn.ID) {
	if next > committed || (next != s.next && s.tail.holds(next)) {
		return
	}
	ahead := make(chan fetched, 1)
	s.ahead = ahead
	go func() {
		frame, err := s.log.Read(ctx, next, committed, chunkBytes)
		if err != nil {
			ahead <- fetched{err: err}
			return
		}
		last, err := lastOf(frame, next)
		ahead <- fetched{chunk{[]record.Frame{frame}, last, len(frame)}, err}
	}()
}

// holds reports whether a transaction is cached.
func (t *Tail) holds(id txn.ID) bool {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	return t.frames.len() > 0 && t.frames.at(0).first <= id && id <= t.committed
}

// lastOf walks a frame that begins with first and returns its last ID.
func lastOf(f record.Frame, first txn.ID) (txn.ID, error) {
	next := first
	for len(f) > 0 {
		if f.TrustedID() != next {
			return txn.None, wire.Refuse(wire.Corrupt, "read transaction %d where %d was due", f.TrustedID(), next)
		}
		next++
		f = f[f.TrustedLen():]
	}
	if next == first {
		return txn.None, wire.Refuse(wire.Corrupt, "transaction %d is committed but could not be read", first)
	}
	return next - 1, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
