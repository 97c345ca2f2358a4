package storageclient

import (
	"context"
	"fmt"
	"runtime"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/wire"
)

// groupBytes is how long a message gets, unless one frame is longer. Larger ones
// bring nothing more, and are answered later.
const groupBytes = 256 << 10

// Append queues new records for the storage and returns at once. done is called
// when they are durable, in the order of the calls for one partition, on a goroutine
// of the client's: it must not block. After an error from Append it is not called:
// [session.ErrBusy] if too much waits, ErrClosed. done gets what the storage said,
// [session.ErrFull] say, behind which what followed in the partition is refused as a
// mismatch; or that the connection broke. The frame must not be changed any more.
func (c *Client) Append(_ context.Context, m session.Append, done func(session.Appended, error)) error {
	return c.TryAppend(m, done)
}

// TryAppend is Append.
func (c *Client) TryAppend(m session.Append, done func(session.Appended, error)) error {
	c.mu.Lock()
	l := &c.link
	switch {
	case l.closed != nil:
		c.mu.Unlock()
		return l.closed
	case l.bytes > 0 && l.bytes+cost(&m) > c.o.QueueBytes:
		c.mu.Unlock()
		return fmt.Errorf("%s has not answered %d bytes: %w", c.o.which(), c.o.QueueBytes, session.ErrBusy)
	}
	// gRPC makes a sender wait when what it holds of a stream, and has not written to
	// the socket, is 64 KiB. What was answered was written, so now there is nothing.
	direct := l.onWay == 0 && len(l.waiting) == 0
	l.push(&m, done)
	switch {
	case l.stream == nil:
		notify(c.demand)
	case l.sending:
	case direct:
		l.sending = true
		c.mu.Unlock()
		var g wire.StorageAppends
		if c.pump(&g) {
			notify(c.work)
		}
		return nil
	default:
		l.sending = true
		notify(c.work)
	}
	c.mu.Unlock()
	return nil
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// send is the sender goroutine.
func (c *Client) send() {
	var g wire.StorageAppends
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.work:
		}
		runtime.Gosched() // partitions that can run add what they have
		for c.pump(&g) {
			runtime.Gosched()
		}
	}
}

// pump sends one message of what waits. The caller has claimed link.sending, and
// keeps it if pump returns true: there is more.
func (c *Client) pump(g *wire.StorageAppends) bool {
	c.mu.Lock()
	l := &c.link
	stream := l.stream
	if stream == nil || len(l.waiting) == 0 {
		l.sending = false
		c.mu.Unlock()
		return false
	}
	l.take(g)
	c.mu.Unlock()

	err := stream.SendMsg(g) // the receiver learns why, if it fails

	c.mu.Lock()
	defer c.mu.Unlock()
	l.giveBack(g)
	if err == nil && len(l.waiting) > 0 {
		return true
	}
	l.sending = false
	if l.stream != nil && l.stream != stream && len(l.waiting) > 0 {
		l.sending = true // the next stream has opened while this one's message failed
		return true
	}
	return false
}
