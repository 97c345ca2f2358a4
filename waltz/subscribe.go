package waltz

import (
	"context"
	"fmt"
	"sync"
)

// SubscribeOptions says what a subscriber wants.
type SubscribeOptions struct {
	Partition     Partition
	HighWaterMark ID // transactions above it are delivered; [None]: all
	// HeadersOnly leaves out all data; [Client.Fetch] gets it later.
	HeadersOnly bool
	// Headers, if not nil, wants data only of transactions with these headers.
	Headers []Header
	// BufferBytes bounds what has arrived and waits for Next. When it is
	// reached the server waits, without effect on other subscribers. Default
	// [BufferBytesDefault].
	BufferBytes int
}

// Subscription is the feed of one partition: every committed transaction above
// a high-water mark, in order, none missing, none twice (I6), for ever. It
// resumes by itself when a connection breaks or the partition moves. Next is for
// one goroutine at a time; Close may be called from any.
type Subscription struct {
	c       *Client
	o       SubscribeOptions
	headers map[Header]bool // wanted data; nil: see mode
	ctx     context.Context
	cancel  context.CancelFunc
	ended   chan struct{} // the receiver has ended
	mark    ID            // the receiver's: everything up to it has arrived

	mu        sync.Mutex
	pending   []Committed // arrived, not taken by Next
	bytes     int         // of frames that arrived since pending was empty
	received  ID          // mark, as of pending
	returned  ID          // mark that Next returned last
	committed ID
	err       error         // the feed ended for good
	news      chan struct{} // something arrived, or err
	space     chan struct{} // pending was taken
}

// Batch is what Next returns: everything that has arrived since the last call.
type Batch struct {
	Partition Partition
	// Transactions ascend. Those whose data was not asked for are Skipped, or are
	// missing where the server leaves them out altogether; HighWaterMark passes them.
	// They share memory: clone the Data of one to keep it long after the others.
	Transactions  []Committed
	HighWaterMark ID // every transaction up to it was delivered or skipped
	Committed     ID // the log's own high-water mark as last heard
}

// Subscribe starts a feed. It returns at once; trouble shows in Next. ctx
// bounds the feed, as Close does.
func (c *Client) Subscribe(ctx context.Context, o SubscribeOptions) (*Subscription, error) {
	if err := c.check(o.Partition); err != nil {
		return nil, err
	}
	if o.HighWaterMark < None || o.BufferBytes < 0 || o.HeadersOnly && o.Headers != nil {
		return nil, fmt.Errorf("%w: subscribe to partition %d: high-water mark %d, buffer of %d bytes, %d headers and headers only: %t",
			ErrInvalid, o.Partition, o.HighWaterMark, o.BufferBytes, len(o.Headers), o.HeadersOnly)
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = BufferBytesDefault
	}
	s := newSubscription(c, o)
	s.ctx, s.cancel = context.WithCancel(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		s.cancel()
		return nil, ErrClosed
	}
	c.spawn(s.run)
	return s, nil
}

func newSubscription(c *Client, o SubscribeOptions) *Subscription {
	s := &Subscription{
		c: c, o: o, mark: o.HighWaterMark, received: o.HighWaterMark, returned: o.HighWaterMark, committed: o.HighWaterMark,
		ended: make(chan struct{}), news: make(chan struct{}, 1), space: make(chan struct{}, 1),
	}
	if o.Headers != nil {
		s.headers = make(map[Header]bool, len(o.Headers))
		for _, h := range o.Headers {
			s.headers[h] = true
		}
	}
	return s
}

// Next waits until the feed has moved, then returns all that is there, up to
// max transactions (0 or less: no limit): so batches form by themselves, of what
// arrived while the application worked on the last one. A batch may have no
// transactions and a higher high-water mark, if all were left out.
//
// Errors: ctx's; [ErrClosed] after Close of the subscription or the client; or
// what ended the feed for good, such as [ErrCorrupt], once all that arrived before
// it was returned. A feed that is interrupted just waits.
func (s *Subscription) Next(ctx context.Context, max int) (Batch, error) {
	for {
		if b, ok, err := s.take(max); ok || err != nil {
			return b, err
		}
		select {
		case <-s.news:
		case <-ctx.Done():
			return Batch{}, ctx.Err()
		}
	}
}

// take returns what is there, if anything.
func (s *Subscription) take(max int) (Batch, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.received == s.returned {
		return Batch{}, false, s.err
	}
	b := Batch{Partition: s.o.Partition, Committed: s.committed}
	if max <= 0 || len(s.pending) <= max {
		b.Transactions, s.pending, s.bytes = s.pending, nil, 0
		s.returned = s.received
		notify(s.space)
	} else {
		b.Transactions, s.pending = s.pending[:max:max], s.pending[max:]
		s.returned = b.Transactions[max-1].ID
	}
	b.HighWaterMark = s.returned
	return b, true, nil
}

// Close ends the feed and returns when nothing of it runs any more. Next then
// returns [ErrClosed].
func (s *Subscription) Close() error {
	s.cancel()
	<-s.ended
	return nil
}
