package appliertest

import (
	"context"
	"sync"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// Log is a log in memory, for appliers. Its methods may be called concurrently.
type Log struct {
	id string

	mu         sync.Mutex
	partitions [][]waltz.Committed
	lies       map[waltz.Partition]waltz.ID // transactions that feeds leave out without saying so
	held       bool                         // feeds bring nothing
	changed    chan struct{}                // closed and replaced when something changes
}

var _ applier.Log = (*Log)(nil)

// NewLog makes an empty log.
func NewLog(id string, partitions int) *Log {
	return &Log{
		id: id, partitions: make([][]waltz.Committed, partitions),
		lies: make(map[waltz.Partition]waltz.ID), changed: make(chan struct{}),
	}
}

// Append commits a transaction.
func (l *Log) Append(p waltz.Partition, tx waltz.Transaction) waltz.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := waltz.ID(len(l.partitions[p]))
	l.partitions[p] = append(l.partitions[p], waltz.Committed{
		Partition: p, ID: id, Header: tx.Header, Time: time.Now().UTC().Truncate(time.Microsecond), Key: tx.Key, Data: tx.Data, DataLen: len(tx.Data),
	})
	l.changedLocked()
	return id
}

func (l *Log) changedLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Hold keeps all feeds from bringing anything, until it is called with false.
func (l *Log) Hold(held bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = held
	l.changedLocked()
}

// LeaveOut makes feeds skip a transaction without a word, as no log may.
func (l *Log) LeaveOut(p waltz.Partition, id waltz.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lies[p] = id
}

// LogID implements applier.Log.
func (l *Log) LogID() string { return l.id }

// Partitions implements applier.Log.
func (l *Log) Partitions() int { return len(l.partitions) }

// HighWaterMark implements applier.Log.
func (l *Log) HighWaterMark(_ context.Context, p waltz.Partition) (waltz.ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return waltz.ID(len(l.partitions[p]) - 1), nil
}

// Subscribe implements applier.Log.
func (l *Log) Subscribe(ctx context.Context, o waltz.SubscribeOptions) (applier.Feed, error) {
	f := &feed{log: l, ctx: ctx, o: o, at: o.HighWaterMark}
	if o.Headers != nil {
		f.wanted = make(map[waltz.Header]bool)
		for _, h := range o.Headers {
			f.wanted[h] = true
		}
	}
	return f, nil
}

type feed struct {
	log    *Log
	ctx    context.Context
	o      waltz.SubscribeOptions
	wanted map[waltz.Header]bool // nil: all
	at     waltz.ID
}

// Next implements applier.Feed.
func (f *feed) Next(ctx context.Context, max int) (waltz.Batch, error) {
	for {
		b, changed := f.take(max)
		if changed == nil {
			return b, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return waltz.Batch{}, ctx.Err()
		case <-f.ctx.Done():
			return waltz.Batch{}, waltz.ErrClosed
		}
	}
}

// Close implements applier.Feed.
func (f *feed) Close() error { return nil }

// take returns what is there, or what to wait for. What is not wanted is left
// out, but for its key.
func (f *feed) take(max int) (waltz.Batch, <-chan struct{}) {
	l := f.log
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.partitions[f.o.Partition]
	if l.held || int(f.at)+1 >= len(all) {
		return waltz.Batch{}, l.changed
	}
	b := waltz.Batch{Partition: f.o.Partition, Committed: waltz.ID(len(all) - 1)}
	lie, lies := l.lies[f.o.Partition]
	for _, c := range all[f.at+1:] {
		if len(b.Transactions) == max {
			break
		}
		f.at = c.ID
		if lies && c.ID == lie {
			continue
		}
		if f.wanted == nil || f.wanted[c.Header] {
			b.Transactions = append(b.Transactions, c)
		} else if c.Key != "" {
			c.Data, c.Skipped = nil, true
			b.Transactions = append(b.Transactions, c)
		}
	}
	b.HighWaterMark = f.at
	return b, nil
}
