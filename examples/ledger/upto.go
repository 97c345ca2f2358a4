package main

import (
	"context"
	"slices"
	"sync"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// logUpTo is a log that seems to end earlier, until it is told to go on: so that a view can
// be built as another one is.
type logUpTo struct {
	applier.Log
	mu    sync.Mutex
	ends  []waltz.ID
	moved chan struct{} // closed when ends change
}

func newLogUpTo(log applier.Log) *logUpTo {
	return &logUpTo{Log: log, ends: slices.Repeat([]waltz.ID{waltz.None}, log.Partitions()), moved: make(chan struct{})}
}

// goOn moves the ends, never back.
func (l *logUpTo) goOn(ends []waltz.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, end := range ends {
		l.ends[p] = max(l.ends[p], end)
	}
	close(l.moved)
	l.moved = make(chan struct{})
}

func (l *logUpTo) end(p waltz.Partition) (end waltz.ID, moved <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ends[p], l.moved
}

// HighWaterMark implements applier.Log.
func (l *logUpTo) HighWaterMark(_ context.Context, p waltz.Partition) (waltz.ID, error) {
	end, _ := l.end(p)
	return end, nil
}

// Subscribe implements applier.Log.
func (l *logUpTo) Subscribe(ctx context.Context, o waltz.SubscribeOptions) (applier.Feed, error) {
	f, err := l.Log.Subscribe(ctx, o)
	if err != nil {
		return nil, err
	}
	return &feedUpTo{Feed: f, log: l, p: o.Partition, mark: o.HighWaterMark, held: waltz.Batch{HighWaterMark: waltz.None}}, nil
}

// feedUpTo holds back what is beyond the end.
type feedUpTo struct {
	applier.Feed
	log  *logUpTo
	p    waltz.Partition
	mark waltz.ID    // of what was returned
	held waltz.Batch // the rest, if its mark is above that
}

// Next implements applier.Feed.
func (f *feedUpTo) Next(ctx context.Context, most int) (waltz.Batch, error) {
	for {
		end, moved := f.log.end(f.p)
		switch {
		case f.mark >= end:
			select {
			case <-moved:
			case <-ctx.Done():
				return waltz.Batch{}, context.Cause(ctx)
			}
		case f.held.HighWaterMark > f.mark:
			return f.take(end), nil
		default:
			var err error
			if f.held, err = f.Feed.Next(ctx, most); err != nil {
				return waltz.Batch{}, err
			}
		}
	}
}

// take returns what is held up to the end.
func (f *feedUpTo) take(end waltz.ID) waltz.Batch {
	b := f.held
	n := 0
	for n < len(b.Transactions) && b.Transactions[n].ID <= end {
		n++
	}
	f.held.Transactions = b.Transactions[n:]
	b.Transactions = b.Transactions[:n:n]
	b.HighWaterMark, b.Committed = min(b.HighWaterMark, end), end
	f.mark = b.HighWaterMark
	return b
}
