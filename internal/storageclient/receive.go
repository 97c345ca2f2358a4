package storageclient

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// receive is the goroutine that opens streams when they are wanted and takes the
// answers.
func (c *Client) receive() {
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.demand:
		}
		err := c.runStream()
		if c.ctx.Err() != nil {
			return
		}
		c.o.Logger.Warn("appends to the storage broke off", "address", c.o.Address, "error", err)
		c.fail(fmt.Errorf("appends broke off: %w", err), false)
	}
}

// runStream opens a stream and takes answers until it breaks.
func (c *Client) runStream() error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	stream, err := c.appends.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, storagepb.Storage_Append_FullMethodName)
	if err != nil {
		return c.problem(err)
	}
	c.opened(stream)
	err = c.takeAnswers(stream)
	if errors.Is(err, io.EOF) {
		err = errors.New("the storage ended the stream")
	}
	return c.problem(err)
}

func (c *Client) opened(stream grpc.ClientStream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link.stream = stream
	if len(c.link.waiting) > 0 && !c.link.sending {
		c.link.sending = true
		notify(c.work)
	}
}

func (c *Client) takeAnswers(stream grpc.ClientStream) error {
	var in wire.StorageAnswers
	var told []finished
	for {
		if err := stream.RecvMsg(&in); err != nil {
			return err
		}
		var err error
		told, err = c.book(&in, told[:0])
		for i := range told {
			told[i].done(told[i].answer, told[i].err)
			told[i] = finished{}
		}
		if err != nil {
			return err
		}
	}
}

// book takes one message of answers, and returns who is to be told.
func (c *Client) book(in *wire.StorageAnswers, out []finished) ([]finished, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.Full != nil {
		c.link.full = nil
		if *in.Full != "" {
			c.link.full = c.problem(wire.FailStorage(wire.StorageDiskFull, "%s", *in.Full))
		}
	}
	var err error
	for i := range in.Failed {
		if out, err = c.link.failed(&in.Failed[i], out); err != nil {
			return out, err
		}
	}
	for i := range in.Appended {
		if out, err = c.link.answered(&in.Appended[i], out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// fail fails all that is unanswered.
func (c *Client) fail(err error, forGood bool) {
	c.mu.Lock()
	if forGood && c.link.closed == nil {
		c.link.closed = err
	}
	unanswered := c.link.breakOff(err)
	c.mu.Unlock()
	for _, f := range unanswered {
		f.done(f.answer, f.err)
	}
}

// Full returns a session.ErrFull while what the storage took waits for room on its
// disk, as far as it has told; else nil.
func (c *Client) Full() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link.full
}
