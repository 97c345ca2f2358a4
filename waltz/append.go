package waltz

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz/internal/codec"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// attempt is one call of Append under way. It is used again after it was
// answered, but never after its caller gave up on it.
type attempt struct {
	monitor.Attempt
	request RequestID
	wake    chan struct{} // one token when answered, or when the client closes
	turn    chan struct{} // one token: whose turn it is to Resolve; nil until given up
	locks   []txn.Lock
}

func newAttempt() *attempt {
	a := &attempt{wake: make(chan struct{}, 1)}
	a.Shell = a
	return a
}

// bodyKeep is the largest body buffer that a used attempt keeps.
const bodyKeep = 64 << 10

// newRequestID makes 128 random bits. The generator is ChaCha8, seeded by
// the operating system.
func newRequestID() (id RequestID) {
	binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	return id
}

// Append appends a transaction once and returns its ID. It ends as I8 says:
//
//   - nil: committed, durably, as the ID.
//   - [*LockConflictError], [*StaleError]: refused; compute it again from a
//     newer state. Nothing was written.
//   - [ErrTooLarge], [ErrTooManyLocks], [ErrInvalid], [ErrNoPartition],
//     [ErrOtherCluster], [ErrClosed]: refused; the call was wrong. Nothing was
//     written.
//   - [ErrCorrupt]: the partition is closed for damage. Nothing was written.
//   - [*UnknownError]: ctx ended, or the client was closed, before the answer
//     could be had. [Client.Resolve] finds out. Or it wraps [ErrCorrupt]: it was sent
//     before, and the log is damaged where it may have been committed.
//   - any other error: ctx ended before anything could have been committed; it
//     wraps ctx's error.
//
// A broken connection, a partition that moves, a log that is unavailable or has no
// space are waited out until ctx ends: the transaction is sent again under the
// same request ID, so that it commits at most once (I4). Transactions appended
// concurrently are committed in any order.
func (c *Client) Append(ctx context.Context, p Partition, tx Transaction) (ID, error) {
	hook := c.opts.hooks.Appended
	if hook == nil {
		return c.append(ctx, p, &tx)
	}
	start := time.Now()
	id, err := c.append(ctx, p, &tx)
	hook(p, time.Since(start), err)
	return id, err
}

func (c *Client) append(ctx context.Context, p Partition, tx *Transaction) (ID, error) {
	if err := ctx.Err(); err != nil {
		return None, notCommitted(p, err, nil)
	}
	if err := c.checkTransaction(p, tx); err != nil {
		return None, err
	}
	a := c.calls.Get().(*attempt)
	if err := c.encode(a, p, tx); err != nil {
		return None, err
	}
	if err := c.submit(a); err != nil {
		return None, err
	}
	return c.await(ctx, a)
}

// checkTransaction refuses what every server would.
func (c *Client) checkTransaction(p Partition, tx *Transaction) error {
	limits := &c.cluster.limits
	switch {
	case p < 0 || int(p) >= c.cluster.partitions:
		return noPartition(p, c.cluster.partitions)
	case limits.DataBytesMax > 0 && int64(len(tx.Data)) > limits.DataBytesMax:
		return fmt.Errorf("%w: data has %d bytes, the log takes %d", ErrTooLarge, len(tx.Data), limits.DataBytesMax)
	case limits.LocksMax > 0 && len(tx.Locks) > limits.LocksMax:
		return fmt.Errorf("%w: it takes %d, the log takes %d", ErrTooManyLocks, len(tx.Locks), limits.LocksMax)
	case len(tx.Key) > keyMax:
		return fmt.Errorf("%w: key has %d bytes, want at most %d", ErrInvalid, len(tx.Key), keyMax)
	case tx.HighWaterMark < None:
		return fmt.Errorf("%w: high-water mark %d is below %d", ErrInvalid, tx.HighWaterMark, None)
	}
	return nil
}

const (
	keyMax = 255
	// messageOverhead bounds what a message of one transaction has besides its body.
	messageOverhead = codec.Framing + 11 + 256
)

func (c *Client) encode(a *attempt, p Partition, tx *Transaction) (err error) {
	if a.locks, err = hashLocks(a.locks[:0], tx.Locks); err != nil {
		return err
	}
	a.request = newRequestID()
	a.Partition = p
	// It can only be committed above what is known to be committed now, or what
	// the view it was computed from has applied.
	a.SentMark = max(ID(c.known[p].Load()), tx.HighWaterMark)
	a.Body = codec.AppendBody(a.Body[:0], &codec.Transaction{
		Partition: p, Request: a.request, ClientHWM: tx.HighWaterMark,
		Header: tx.Header, Locks: a.locks, Key: tx.Key, Data: tx.Data,
	})
	if groupMax := c.cluster.limits.GroupBytesMax; groupMax > 0 && int64(len(a.Body)+messageOverhead) > groupMax {
		return fmt.Errorf("%w: with locks and key it has %d bytes, a message takes %d", ErrTooLarge, len(a.Body), groupMax-messageOverhead)
	}
	return nil
}

// submit books an attempt and sends it, or sees to it that somebody does.
func (c *Client) submit(a *attempt) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.monitor.Add(&a.Attempt)
	l := c.routes[a.Partition]
	mine := false
	switch {
	case l == nil:
		c.router.kick()
	case l.lane.Out() == 0 && l.claimLocked():
		mine = true
	default:
		l.stirLocked()
	}
	c.mu.Unlock()
	if mine && l.pump() {
		c.mu.Lock()
		l.sending = false
		l.stirLocked()
		c.mu.Unlock()
	}
	return nil
}
