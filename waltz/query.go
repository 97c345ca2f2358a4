package waltz

import (
	"context"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/txn"
)

// HighWaterMark returns the ID of the last committed transaction, [None] if there
// is none. Every transaction that was acknowledged before the call is included.
func (c *Client) HighWaterMark(ctx context.Context, p Partition) (ID, error) {
	mark := None
	err := c.retry(ctx, p, func(ctx context.Context, l *link) error {
		var err error
		mark, err = l.highWaterMark(ctx, p)
		return err
	})
	if err != nil {
		return None, fmt.Errorf("high-water mark of partition %d: %w", p, err)
	}
	c.learn(p, mark)
	return mark, nil
}

// At returns the ID of the first transaction that was committed at or after t;
// the high-water mark plus one if none was yet.
func (c *Client) At(ctx context.Context, p Partition, t time.Time) (ID, error) {
	id := None
	err := c.retry(ctx, p, func(ctx context.Context, l *link) error {
		var err error
		id, err = l.at(ctx, p, timeUp(t))
		return err
	})
	if err != nil {
		return None, fmt.Errorf("find %s in partition %d: %w", t.Format(time.RFC3339Nano), p, err)
	}
	return id, nil
}

// timeUp rounds up to the resolution of timestamps: what was committed in the
// microsecond that t lies in, but before t, is not at or after it.
func timeUp(t time.Time) txn.Timestamp {
	us := txn.TimestampOf(t)
	if us.Time().Before(t) {
		us++
	}
	return us
}
