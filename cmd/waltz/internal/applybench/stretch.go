package applybench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// stretch is a part of a log, seen as a log of its own: of its first partitions, each
// with the transactions behind base, whose IDs begin with 0.
type stretch struct {
	client *waltz.Client
	base   []waltz.ID // by partition
	count  int        // of transactions in each; 0: there is no end
}

// LogID implements applier.Log.
func (s stretch) LogID() string { return s.client.LogID() }

// Partitions implements applier.Log.
func (s stretch) Partitions() int { return len(s.base) }

// HighWaterMark implements applier.Log.
func (s stretch) HighWaterMark(ctx context.Context, p waltz.Partition) (waltz.ID, error) {
	mark, err := s.client.HighWaterMark(ctx, p)
	return s.shown(p, mark), err
}

// shown translates an ID, and hides what lies behind the end.
func (s stretch) shown(p waltz.Partition, id waltz.ID) waltz.ID {
	id -= s.base[p] + 1
	if s.count > 0 {
		id = min(id, waltz.ID(s.count)-1)
	}
	return id
}

// Subscribe implements applier.Log.
func (s stretch) Subscribe(ctx context.Context, o waltz.SubscribeOptions) (applier.Feed, error) {
	f := &feed{stretch: s, p: o.Partition, mark: o.HighWaterMark}
	o.HighWaterMark += s.base[o.Partition] + 1
	var err error
	f.Subscription, err = s.client.Subscribe(ctx, o)
	return f, err
}

type feed struct {
	*waltz.Subscription
	stretch
	p    waltz.Partition
	mark waltz.ID
}

// Next implements applier.Feed. At the end it waits, as on an idle log.
func (f *feed) Next(ctx context.Context, most int) (waltz.Batch, error) {
	if f.count > 0 && int(f.mark)+1 >= f.count {
		<-ctx.Done()
		return waltz.Batch{}, ctx.Err()
	}
	b, err := f.Subscription.Next(ctx, most)
	if err != nil {
		return b, err
	}
	for i := range b.Transactions {
		id := b.Transactions[i].ID - f.base[f.p] - 1
		if f.count > 0 && int(id) >= f.count {
			b.Transactions = b.Transactions[:i]
			break
		}
		b.Transactions[i].ID = id
	}
	b.HighWaterMark, b.Committed = f.shown(f.p, b.HighWaterMark), f.shown(f.p, b.Committed)
	f.mark = b.HighWaterMark
	return b, nil
}

// appenders is how many appends of a partition are under way while a log is filled.
const appenders = 128

// fill appends counts[p] transfers to each partition p, and returns the mark before them.
func fill(ctx context.Context, c *waltz.Client, counts []int) (base []waltz.ID, err error) {
	for p := range counts {
		mark, err := c.HighWaterMark(ctx, waltz.Partition(p))
		if err != nil {
			return nil, err
		}
		base = append(base, mark)
	}
	g, ctx := errgroup.WithContext(ctx)
	for p, n := range counts {
		g.Go(func() error { return fillPartition(ctx, c, waltz.Partition(p), n, base[p]) })
	}
	return base, g.Wait()
}

// fillPartition appends transfers, many at once.
func fillPartition(ctx context.Context, c *waltz.Client, p waltz.Partition, n int, base waltz.ID) error {
	g, ctx := errgroup.WithContext(ctx)
	var next, last atomic.Int64
	last.Store(int64(base))
	for range appenders {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				id, err := put(ctx, c, p, i, waltz.ID(last.Load()))
				if err != nil {
					return err
				}
				raise(&last, int64(id))
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if got := waltz.ID(last.Load()) - base; got != waltz.ID(n) {
		return fmt.Errorf("partition %d got %d transactions while %d were appended: somebody else appends to the log", p, got, n)
	}
	return nil
}

// raise makes a at least v.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); old < v && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// put appends one transfer. A mark that is not far back is as good as the last: no
// key is used twice.
func put(ctx context.Context, c *waltz.Client, p waltz.Partition, i int, mark waltz.ID) (waltz.ID, error) {
	t, key := nth(p, i)
	tx := waltz.Transaction{Key: key, HighWaterMark: mark}
	if err := posted.Put(&tx, t); err != nil {
		return waltz.None, err
	}
	return c.Append(ctx, p, tx)
}

// each reads and decodes a partition of the stretch, in batches of that size.
func (s stretch) each(ctx context.Context, p waltz.Partition, batch int, do func([]record) error) (err error) {
	feed, err := s.Subscribe(ctx, waltz.SubscribeOptions{Partition: p, HighWaterMark: waltz.None, Headers: []waltz.Header{posted.Header}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, feed.Close()) }()
	rs := make([]record, 0, min(batch, s.count))
	for done := 0; done < s.count; done += len(rs) {
		rs = rs[:0]
		for len(rs) < min(batch, s.count-done) {
			in, err := feed.Next(ctx, min(batch, s.count-done)-len(rs))
			if err != nil {
				return err
			}
			for _, c := range in.Transactions {
				r, err := posted.Decode(c)
				if err != nil {
					return err
				}
				rs = append(rs, r)
			}
		}
		if err := do(rs); err != nil {
			return err
		}
	}
	return nil
}

// sums reads what the stretch comes to.
func (s stretch) sums(ctx context.Context) (out sums, err error) {
	balances := map[int64]int64{}
	for p := range s.base {
		err := s.each(ctx, waltz.Partition(p), batchMax, func(rs []record) error {
			for i := range rs {
				out.add(&rs[i].Value, rs[i].Key, balances)
			}
			return nil
		})
		if err != nil {
			return out, err
		}
	}
	out.weigh(balances)
	return out, nil
}
