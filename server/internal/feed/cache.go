// Package feed hands the committed transactions of partitions to subscribers
// (I6): none missing, none twice, none uncommitted.
//
// A [Tail] holds the last committed frames of one partition; the [Cache] bounds
// all tails of a server together, in bytes, and evicts the oldest frame of all.
// A [Subscription] reads from the tail, and further back than the tail goes by
// range reads from the log, with one read ahead. Each subscriber has its own
// position and its own goroutine, and holds at most two chunks, so a slow one
// slows nobody and costs nothing but its own reads.
//
// The partition's owner is the only publisher, and publishes what the store
// session reported as committed, never before.
package feed

import (
	"sync"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// frameOverhead is what a cached frame costs besides its bytes.
const frameOverhead = 96

// Cache bounds the tails of one server. Make it with NewCache.
type Cache struct {
	bytesMax int

	mu    sync.Mutex // guards everything below, and the frames of all tails
	bytes int
	order fifo[*Tail] // the tail of each cached frame, oldest first
}

// NewCache makes a cache of that many bytes, all partitions together.
func NewCache(bytesMax int) *Cache { return &Cache{bytesMax: bytesMax} }

// Bytes returns how much is cached.
func (c *Cache) Bytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// Tail is the recent past of one partition. Make it with NewTail.
type Tail struct {
	cache *Cache

	// guarded by cache.mu
	frames    fifo[cached] // the last frames, without gaps, up to committed
	stale     int          // entries of cache.order whose frames were dropped already
	committed txn.ID
	open      bool
	refusal   error // why nobody may wait for more; nil: one may
	watchers  map[chan struct{}]struct{}
}

type cached struct {
	frame       record.Frame
	first, last txn.ID
}

func (c cached) cost() int { return len(c.frame) + frameOverhead }

// NewTail makes the tail of a partition whose log is not open yet.
func (c *Cache) NewTail() *Tail {
	return &Tail{cache: c, committed: txn.None, watchers: map[chan struct{}]struct{}{}}
}

// Open says that a store session was opened, with the log up to high committed.
func (t *Tail) Open(high txn.ID) {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	if high != t.committed {
		// The session found more than was published; the frames cached would not
		// join up with the next one.
		t.dropFrames()
	}
	t.committed, t.open, t.refusal = high, true, nil
	t.notifyLocked()
}

// Refuse says that the log can't be opened, and that it is no use to wait until it
// is: subscriptions that would are ended with why, until Open.
func (t *Tail) Refuse(why error) {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	t.refusal = why
	t.notifyLocked()
}

func (t *Tail) refused() error {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	return t.refusal
}

// Lost says that the store session ended: what was committed stays so.
func (t *Tail) Lost() {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	t.open = false
}

func (t *Tail) dropFrames() {
	for t.frames.len() > 0 {
		t.cache.bytes -= t.frames.pop().cost()
		t.stale++
	}
}

// Publish adds a committed frame, which must follow the last one and never
// change. Only the partition's owner calls it.
func (t *Tail) Publish(frame record.Frame, first, last txn.ID) {
	c := t.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	f := cached{frame, first, last}
	t.frames.push(f)
	c.order.push(t)
	c.bytes += f.cost()
	t.committed = last
	c.evictLocked()
	t.notifyLocked()
}

// evictLocked drops the oldest frames of all until the rest fits.
func (c *Cache) evictLocked() {
	for c.order.len() > 0 && (c.bytes > c.bytesMax || c.order.at(0).stale > 0) {
		t := c.order.pop()
		if t.stale > 0 { // a tail's frames go in order, so the dropped ones come first
			t.stale--
			continue
		}
		c.bytes -= t.frames.pop().cost()
	}
}

func (t *Tail) notifyLocked() {
	for w := range t.watchers {
		select {
		case w <- struct{}{}:
		default: // it has not yet seen the last one
		}
	}
}

// Committed returns the log's high-water mark, and whether a session is open.
func (t *Tail) Committed() (txn.ID, bool) {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	return t.committed, t.open
}

// Subscribers returns how many watch the tail.
func (t *Tail) Subscribers() int {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	return len(t.watchers)
}

func (t *Tail) watch() chan struct{} {
	w := make(chan struct{}, 1)
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	t.watchers[w] = struct{}{}
	return w
}

func (t *Tail) unwatch(w chan struct{}) {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	delete(t.watchers, w)
}

// chunk is consecutive committed records, first..last.
type chunk struct {
	frames []record.Frame
	last   txn.ID
	bytes  int
}

// read returns the cached frames from next on, about bytesMax of them but at
// least one; none if they are not cached or not there yet.
func (t *Tail) read(next txn.ID, bytesMax int) (c chunk, committed txn.ID, open bool) {
	t.cache.mu.Lock()
	defer t.cache.mu.Unlock()
	i := t.frames.search(func(f cached) bool { return f.last >= next })
	if i < t.frames.len() && t.frames.at(i).first <= next {
		for ; i < t.frames.len() && (c.bytes == 0 || c.bytes+len(t.frames.at(i).frame) <= bytesMax); i++ {
			f := t.frames.at(i)
			c.frames, c.last, c.bytes = append(c.frames, f.frame), f.last, c.bytes+len(f.frame)
		}
		c.frames[0] = from(c.frames[0], next)
	}
	return c, t.committed, t.open
}

// from cuts off the records of a trusted frame before next.
func from(f record.Frame, next txn.ID) record.Frame {
	for f.TrustedID() < next {
		f = f[f.TrustedLen():]
	}
	return f
}
