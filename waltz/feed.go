package waltz

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz/internal/codec"
)

// run is the receiver: it keeps a stream open from where the last one ended.
func (s *Subscription) run() {
	defer close(s.ended)
	defer s.cancel()
	stop := context.AfterFunc(s.c.ctx, s.cancel)
	defer stop()
	b := newBackOff()
	b.Reset()
	var trouble outage
	for {
		before := s.mark
		err := s.receive()
		if s.ctx.Err() != nil {
			s.fail(ErrClosed)
			return
		}
		if forGood(err) {
			s.fail(fmt.Errorf("feed of partition %d above transaction %d: %w", s.o.Partition, s.mark, err))
			return
		}
		if s.mark > before {
			b.Reset()
		}
		s.interrupted(err, trouble.news(s.mark > before))
		if pause(s.ctx, b) != nil {
			s.fail(ErrClosed)
			return
		}
	}
}

func (s *Subscription) interrupted(err error, news bool) {
	s.c.router.kick()
	if news {
		s.c.log.Warn("feed interrupted, it resumes", "partition", s.o.Partition, "high_water_mark", s.mark, "err", err)
	}
	if hook := s.c.opts.hooks.FeedBroken; hook != nil {
		hook(s.o.Partition, s.mark, err)
	}
}

func (s *Subscription) fail(err error) {
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	notify(s.news)
}

// receive takes one stream until it breaks.
func (s *Subscription) receive() error {
	l, err := s.c.owner(s.ctx, s.o.Partition)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	stream, err := l.subscribe(ctx, &s.o, s.mark)
	if err != nil {
		return err
	}
	var in codec.Chunk
	for {
		if err := stream.RecvMsg(&in); err != nil {
			return callError(err)
		}
		if err := s.arrive(&in); err != nil {
			return err
		}
	}
}

// arrive verifies what came and holds it for Next, once there is space.
func (s *Subscription) arrive(in *codec.Chunk) error {
	transactions, err := s.decode(in)
	if err != nil {
		return err
	}
	if err := s.waitForSpace(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.pending == nil {
		s.pending = transactions
	} else {
		s.pending = append(s.pending, transactions...)
	}
	s.bytes += len(in.Frame)
	s.mark, s.received, s.committed = in.HighWaterMark, in.HighWaterMark, max(s.committed, in.Committed)
	s.mu.Unlock()
	s.c.learn(s.o.Partition, in.Committed)
	notify(s.news)
	return nil
}

// waitForSpace is the back-pressure: while it waits nothing is read from the
// stream, whose window then closes.
func (s *Subscription) waitForSpace() error {
	for {
		s.mu.Lock()
		full := s.bytes >= s.o.BufferBytes
		s.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-s.space:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// decode verifies that a message continues the mark without a gap (I6).
func (s *Subscription) decode(in *codec.Chunk) ([]Committed, error) {
	if in.HighWaterMark < s.mark || in.Committed < in.HighWaterMark {
		return nil, fmt.Errorf("server breaks the feed: mark %d follows %d, committed up to %d", in.HighWaterMark, s.mark, in.Committed)
	}
	d := decoder{partition: s.o.Partition, last: s.mark, wanted: s.wanted}
	transactions, err := d.decode(in.Frame)
	if err != nil {
		return nil, err
	}
	if mutant.On("subscription-skips-gap-check") {
		return transactions, nil
	}
	if d.last > in.HighWaterMark || d.last < in.HighWaterMark && s.headers == nil || d.gap && s.headers == nil {
		return nil, fmt.Errorf("server breaks the feed: after transaction %d came %d up to %d, where all up to %d should be",
			s.mark, len(transactions), d.last, in.HighWaterMark)
	}
	return transactions, nil
}

// wanted reports whether the data of a transaction with that header must come.
func (s *Subscription) wanted(h Header) bool {
	return !s.o.HeadersOnly && (s.headers == nil || s.headers[h])
}
