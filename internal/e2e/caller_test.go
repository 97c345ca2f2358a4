package e2e

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// caller makes appends from the test itself and keeps their history.
type caller struct {
	t  testing.TB
	mu sync.Mutex
	h  history.History
}

// append makes one call and records it; its number is for resolved.
func (c *caller) append(ctx context.Context, client *waltz.Client, p waltz.Partition, name string, tx waltz.Transaction) (number int, id waltz.ID, err error) {
	tx.Data = append([]byte(name+"\n"), tx.Data...)
	op := history.Op{
		Client: "test", Name: name, Partition: p, Header: tx.Header, Data: tx.Data, Key: tx.Key,
		Locks: hashes(tx.Locks), Mark: tx.HighWaterMark, Invoked: now(), Returned: history.Pending,
	}
	id, err = client.Append(ctx, p, tx)
	if out, about := outcome(id, err); out != history.Unknown {
		op.Returned, op.Outcome, op.ID = now(), out, about
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.h.Ops = append(c.h.Ops, op)
	return len(c.h.Ops) - 1, id, err
}

// resolved records what an unknown append turned out to be.
func (c *caller) resolved(number int, id waltz.ID, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	op := &c.h.Ops[number]
	op.Returned = now()
	op.Outcome, op.ID = outcome(id, err)
}

// appendMany makes calls from many goroutines at once.
func (c *caller) appendMany(client *waltz.Client, p waltz.Partition, names []string) {
	c.t.Helper()
	g, ctx := errgroup.WithContext(context.Background())
	queue := make(chan string)
	for range 256 {
		g.Go(func() error {
			for name := range queue {
				if _, _, err := c.append(ctx, client, p, name, waltz.Transaction{HighWaterMark: waltz.None}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(queue)
		for _, name := range names {
			select {
			case queue <- name:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	require.NoError(c.t, g.Wait())
}
