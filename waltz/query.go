package waltz

import (
	"context"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
)

// HighWaterMark returns the ID of the last committed transaction, [None] if there
// is none. Every transaction that was acknowledged before the call is included.
func (c *Client) HighWaterMark(ctx context.Context, p Partition) (ID, error) {
	mark := None
	err := c.retry(ctx, p, func(ctx context.Context, l *link) error {
		r, err := l.api.HighWaterMark(ctx, &clientpb.HighWaterMarkRequest{Partition: int32(p), ClusterKey: c.cluster.key})
		if err != nil {
			return statusError(err)
		}
		mark = ID(r.GetHighWaterMark())
		return nil
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
		r, err := l.api.At(ctx, &clientpb.AtRequest{Partition: int32(p), ClusterKey: c.cluster.key, TimeUs: timeUp(t)})
		if err != nil {
			return statusError(err)
		}
		id = ID(r.GetTransactionId())
		return nil
	})
	if err != nil {
		return None, fmt.Errorf("find %s in partition %d: %w", t.Format(time.RFC3339Nano), p, err)
	}
	return id, nil
}

// timeUp rounds up to the resolution of timestamps: what was committed in the
// microsecond that t lies in, but before t, is not at or after it.
func timeUp(t time.Time) int64 {
	us := txn.TimestampOf(t)
	if us.Time().Before(t) {
		us++
	}
	return int64(us)
}
