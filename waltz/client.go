package waltz

import (
	"context"
	"errors"
	"iter"
	"time"
)

type attempt struct{}

// Client is a connection to a cluster.
type Client struct{}

// Dial connects.
func Dial(ctx context.Context, addr string, opts ...Option) (*Client, error) {
	return nil, errors.ErrUnsupported
}

// Option configures Dial.
type Option interface{ apply() }

// Close ends everything.
func (c *Client) Close() error { return nil }

// LogID is the identity of the cluster's log.
func (c *Client) LogID() string { return "" }

// Partitions returns how many partitions the log has.
func (c *Client) Partitions() int { return 0 }

// PartitionFor maps a key to its partition.
func (c *Client) PartitionFor(key string) Partition { return 0 }

// Append appends once.
func (c *Client) Append(ctx context.Context, p Partition, tx Transaction) (ID, error) {
	return None, nil
}

// Resolve finds out what became of an append.
func (c *Client) Resolve(ctx context.Context, unknown *UnknownError) (ID, error) { return None, nil }

// HighWaterMark returns the last committed ID.
func (c *Client) HighWaterMark(ctx context.Context, p Partition) (ID, error) { return None, nil }

// At returns the first ID committed at or after t.
func (c *Client) At(ctx context.Context, p Partition, t time.Time) (ID, error) { return None, nil }

// Read walks first..last.
func (c *Client) Read(ctx context.Context, p Partition, first, last ID) iter.Seq2[Committed, error] {
	return nil
}

// Fetch loads the transactions with the given ascending IDs.
func (c *Client) Fetch(ctx context.Context, p Partition, ids []ID) ([]Committed, error) {
	return nil, nil
}

// SubscribeOptions says what a subscriber wants.
type SubscribeOptions struct {
	Partition     Partition
	HighWaterMark ID       // transactions above it are delivered
	HeadersOnly   bool     // no data at all
	Headers       []Header // data only of these; nil: of all
	BufferBytes   int      // how much may wait for Next
}

// Subscription is one partition's feed.
type Subscription struct{}

// Batch is what Next returns: everything that has arrived since the last call.
type Batch struct {
	Partition     Partition
	Transactions  []Committed // ascending; without those the subscription skips
	HighWaterMark ID          // every transaction up to it was delivered or skipped
	Committed     ID          // the log's own high-water mark as last heard
}

// Subscribe starts a feed.
func (c *Client) Subscribe(ctx context.Context, o SubscribeOptions) (*Subscription, error) {
	return nil, nil
}

// Next waits for at least one transaction (delivered or skipped), then returns all that is there, up to max transactions.
func (s *Subscription) Next(ctx context.Context, max int) (Batch, error) { return Batch{}, nil }

// Close ends the feed.
func (s *Subscription) Close() error { return nil }
