package applier

import (
	"context"
	"sync"
	"time"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz"
)

// queue stands between the goroutine that reads and decodes a partition and the
// one that applies it. It holds one batch, which grows until it is taken: what
// arrives while a batch is in the database becomes the next one. When it is full
// the reader waits, and with it the feed (I9).
type queue[Tx any] struct {
	transactionsMax int
	bytesMax        int
	complete        bool // the feed leaves nothing out

	last waltz.ID // the reader's: everything up to it was put

	mu      sync.Mutex
	filling *batch[Tx]
	taken   waltz.ID // mark of the batch that was taken last
	end     waltz.ID // of the log, as last heard
	err     error    // the feed ended
	news    chan struct{}
	space   chan struct{}
}

// chunk bounds how many transactions are decoded between two looks at whether
// the other side wants the batch.
const chunk = 256

func newQueue[Tx any](o Options, filling *batch[Tx], mark waltz.ID) *queue[Tx] {
	filling.mark = mark
	return &queue[Tx]{
		transactionsMax: o.BatchTransactionsMax, bytesMax: o.BatchBytesMax, complete: o.UnknownHeaders == StopUnknown,
		last: mark, filling: filling, taken: mark, end: mark,
		news: make(chan struct{}, 1), space: make(chan struct{}, 1),
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// read moves everything that the feed brings into the queue, until ctx or the
// feed ends.
func (q *queue[Tx]) read(ctx context.Context, view string, feed Feed) {
	for {
		in, err := feed.Next(ctx, chunk)
		if err == nil {
			err = q.put(ctx, view, in)
		}
		if err != nil {
			q.mu.Lock()
			q.err = err
			q.mu.Unlock()
			notify(q.news)
			return
		}
	}
}

// put adds what arrived. It refuses what can't follow (I6): a log that left out
// a transaction must not become a view that looks right.
func (q *queue[Tx]) put(ctx context.Context, view string, in waltz.Batch) error {
	for len(in.Transactions) > 0 {
		n, err := q.fill(view, in)
		if err != nil {
			return err
		}
		in.Transactions = in.Transactions[n:]
		notify(q.news)
		if len(in.Transactions) > 0 {
			select {
			case <-q.space:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return q.pass(view, in)
}

// fill adds transactions until the batch is full, and returns how many.
func (q *queue[Tx]) fill(view string, in waltz.Batch) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.end = max(q.end, in.Committed)
	for i, c := range in.Transactions {
		if q.fullLocked() {
			return i, nil
		}
		if err := q.check(view, c); err != nil {
			return i, err
		}
		q.filling.add(c)
		q.last, q.filling.mark = c.ID, c.ID
	}
	return len(in.Transactions), nil
}

func (q *queue[Tx]) check(view string, c waltz.Committed) error {
	if mutant.On("gap-not-checked") {
		return nil
	}
	if c.ID <= q.last || q.complete && c.ID != q.last+1 {
		return &GapError{View: view, Partition: c.Partition, After: q.last, ID: c.ID}
	}
	return nil
}

// pass raises the mark over what the feed left out behind the last transaction.
func (q *queue[Tx]) pass(view string, in waltz.Batch) error {
	if in.HighWaterMark < q.last || q.complete && in.HighWaterMark != q.last && !mutant.On("gap-not-checked") {
		return &GapError{View: view, Partition: in.Partition, After: q.last, ID: in.HighWaterMark}
	}
	q.mu.Lock()
	q.end = max(q.end, in.Committed)
	q.last, q.filling.mark = in.HighWaterMark, in.HighWaterMark
	q.mu.Unlock()
	notify(q.news)
	return nil
}

func (q *queue[Tx]) fullLocked() bool {
	return len(q.filling.items)+len(q.filling.keys) > 0 && (len(q.filling.items) >= q.transactionsMax || q.filling.bytes >= q.bytesMax)
}

// take exchanges the batch for an empty one, if it moves the mark. The error
// of a feed that has ended comes after everything that it brought.
func (q *queue[Tx]) take(empty *batch[Tx]) (*batch[Tx], error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.filling
	if b.mark == q.taken {
		return nil, q.err
	}
	q.taken = b.mark
	empty.mark = b.mark
	q.filling = empty
	notify(q.space)
	return b, nil
}

// heard tells the log's end, and when the oldest transaction that waits was committed.
func (q *queue[Tx]) heard() (end waltz.ID, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.end, q.filling.oldest
}
