package applier

import (
	"context"

	"github.com/waltz-log/waltz/waltz"
)

// Log is what an applier needs of a log; [FromClient] makes one of a client.
// Methods may be called concurrently.
type Log interface {
	// LogID is the identity of the log. Another log never has it.
	LogID() string
	// Partitions tells how many there are. It never changes.
	Partitions() int
	// HighWaterMark returns the last committed ID of a partition; it waits until
	// the log can tell, or ctx ends.
	HighWaterMark(ctx context.Context, p waltz.Partition) (waltz.ID, error)
	// Subscribe starts a feed, which ends with Close or with ctx.
	Subscribe(ctx context.Context, o waltz.SubscribeOptions) (Feed, error)
}

// Feed is a subscription: see [waltz.Subscription].
type Feed interface {
	Next(ctx context.Context, max int) (waltz.Batch, error)
	Close() error
}

// FromClient makes a client the log of appliers.
func FromClient(c *waltz.Client) Log { return clientLog{c} }

type clientLog struct{ *waltz.Client }

func (l clientLog) Subscribe(ctx context.Context, o waltz.SubscribeOptions) (Feed, error) {
	s, err := l.Client.Subscribe(ctx, o)
	if err != nil {
		return nil, err
	}
	return s, nil
}
