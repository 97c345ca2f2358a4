package waltz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/waltz/internal/codec"
)

// Read walks the committed transactions first..last, both included, in order.
// It ends without an error after last, or after the high-water mark as of the call
// if that is lower. Broken connections are resumed. An error is the last thing
// that is yielded. Neighbours share memory: clone the Data of one to keep it
// long after the others.
func (c *Client) Read(ctx context.Context, p Partition, first, last ID) iter.Seq2[Committed, error] {
	return func(yield func(Committed, error) bool) {
		if err := c.read(ctx, p, first, last, yield); err != nil {
			yield(Committed{}, fmt.Errorf("read partition %d: %w", p, err))
		}
	}
}

func (c *Client) read(ctx context.Context, p Partition, first, last ID, yield func(Committed, error) bool) error {
	if first < 0 {
		return fmt.Errorf("%w: there is no transaction %d", ErrInvalid, first)
	}
	mark, err := c.HighWaterMark(ctx, p)
	if err != nil {
		return err
	}
	last = min(last, mark)
	d := decoder{partition: p, last: first - 1, wanted: always}
	stopped := false
	keep := func(tx Committed) bool { stopped = !yield(tx, nil); return !stopped }
	return c.retry(ctx, p, func(ctx context.Context, l *link) error {
		if stopped || d.last >= last {
			return nil
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := l.readRange(ctx, p, d.last+1, last)
		if err == nil {
			err = takeFrames(stream, &d, last, keep)
		}
		if err == nil && !stopped && d.last < last {
			return fmt.Errorf("%w: the server stopped at transaction %d of %d", ErrUnavailable, d.last, last)
		}
		return err
	})
}

func always(Header) bool { return true }

// takeFrames takes one read until it ends or keep returns false. If last isn't
// None, what comes is dense and ends with last.
func takeFrames(stream grpc.ClientStream, d *decoder, last ID, keep func(Committed) bool) error {
	var in codec.Chunk
	for {
		if err := stream.RecvMsg(&in); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return callError(err)
		}
		ahead := *d
		transactions, err := ahead.decode(in.Frame)
		if err != nil {
			return err
		}
		if last != None && (ahead.gap || ahead.last > last) {
			return fmt.Errorf("server breaks the read: after transaction %d came %d up to %d", d.last, len(transactions), ahead.last)
		}
		for i := range transactions {
			d.last = transactions[i].ID
			if !keep(transactions[i]) {
				return nil
			}
		}
	}
}

// fetchMax is how many transactions one request of Fetch asks for.
const fetchMax = 4096

// Fetch loads the transactions with the given ascending IDs, data included:
// those that a subscription left out, or any other. All must be committed.
func (c *Client) Fetch(ctx context.Context, p Partition, ids []ID) ([]Committed, error) {
	out := make([]Committed, 0, len(ids))
	for chunk := range slices.Chunk(ids, fetchMax) {
		var err error
		if out, err = c.fetch(ctx, p, chunk, out); err != nil {
			return nil, fmt.Errorf("fetch from partition %d: %w", p, err)
		}
	}
	return out, nil
}

// fetch appends the transactions of one request.
func (c *Client) fetch(ctx context.Context, p Partition, ids []ID, out []Committed) ([]Committed, error) {
	rest := make([]int64, len(ids))
	for i, id := range ids {
		if rest[i] = int64(id); id < 0 || i > 0 && id <= ids[i-1] || len(out) > 0 && id <= out[len(out)-1].ID {
			return nil, fmt.Errorf("%w: transaction %d; IDs must ascend from 0", ErrInvalid, id)
		}
	}
	var wrong error
	keep := func(tx Committed) bool {
		if len(rest) == 0 || int64(tx.ID) != rest[0] {
			wrong = fmt.Errorf("%w: the server sends transaction %d, which is not the next one asked for", ErrCorrupt, tx.ID)
			return false
		}
		out, rest = append(out, tx), rest[1:]
		return true
	}
	err := c.retry(ctx, p, func(ctx context.Context, l *link) error {
		d := decoder{partition: p, last: None, wanted: always}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := l.readIDs(ctx, p, rest)
		if err == nil {
			err = takeFrames(stream, &d, None, keep)
		}
		if err == nil && wrong == nil && len(rest) > 0 {
			return fmt.Errorf("%w: transaction %d is not there", ErrInvalid, rest[0])
		}
		return errors.Join(wrong, err)
	})
	return out, err
}

// retry does something that only reads, with a partition's owner, until it
// succeeds, fails for good, or ctx ends.
func (c *Client) retry(ctx context.Context, p Partition, step func(context.Context, *link) error) error {
	if err := c.check(p); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	b := newBackOff()
	b.Reset()
	trouble := fmt.Errorf("%w: no answer in time", ErrUnavailable)
	for {
		l, err := c.owner(ctx, p)
		if err == nil {
			err = step(ctx, l)
		}
		if err == nil || forGood(err) {
			return err
		}
		if c.ctx.Err() != nil {
			return ErrClosed
		}
		if ctx.Err() == nil {
			trouble = err
			c.router.kick()
			_ = pause(ctx, b) // ctx is looked at below
		}
		if ctx.Err() != nil {
			return withTrouble(ctx.Err(), trouble)
		}
	}
}
