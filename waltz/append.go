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
//   - [*UnknownError]: ctx ended, or the client was closed, before the answer
//     could be had. [Client.Resolve] finds out.
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

// await waits for an attempt's answer.
func (c *Client) await(ctx context.Context, a *attempt) (ID, error) {
	done := ctx.Done()
	if done == nil {
		<-a.wake
		return c.finish(a)
	}
	select {
	case <-a.wake:
		return c.finish(a)
	case <-done:
		return c.giveUp(a, ctx.Err())
	}
}

// finish ends an attempt whose wake token was taken: it was answered, or the
// client was closed.
func (c *Client) finish(a *attempt) (ID, error) {
	if a.State != monitor.Answered { // the token came after State, and nothing changes it now
		return c.giveUp(a, ErrClosed)
	}
	id, err := outcome(a.Partition, a.Outcome)
	c.recycle(a)
	return id, err
}

// recycle keeps an answered attempt for another call, unless somebody may hold it.
func (c *Client) recycle(a *attempt) {
	if a.turn != nil || cap(a.Body) > bodyKeep {
		return
	}
	a.Reset()
	c.calls.Put(a)
}

// giveUp ends a call whose answer isn't waited for any longer.
func (c *Client) giveUp(a *attempt, cause error) (ID, error) {
	c.mu.Lock()
	state := c.monitor.Abandon(&a.Attempt)
	unsure := a.Unsure || state == monitor.Sent
	trouble := c.troubleLocked(a)
	c.stirAllLocked()
	c.mu.Unlock()
	if state == monitor.Answered {
		<-a.wake // it is on its way
		return c.finish(a)
	}
	if !unsure {
		return None, notCommitted(a.Partition, cause, trouble)
	}
	if a.turn == nil {
		a.turn = make(chan struct{}, 1)
		a.turn <- struct{}{}
	}
	return None, &UnknownError{Partition: a.Partition, RequestID: a.request, Err: withTrouble(cause, trouble), attempt: a}
}

// troubleLocked tells what kept an attempt from its answer, if anything did.
func (c *Client) troubleLocked(a *attempt) error {
	if a.Trouble.Reason != monitor.Accepted {
		_, err := outcome(a.Partition, a.Trouble)
		return err
	}
	if l := c.routes[a.Partition]; l != nil {
		return l.trouble
	}
	return fmt.Errorf("%w: partition %d has no owner now", ErrUnavailable, a.Partition)
}

// Resolve finds out what became of an append that ended as unknown: it goes on
// with the same attempt until its fate is known, and ends as [Client.Append] does.
// If the transaction had not been committed it may be committed by this call.
// Only the client that returned the error, while it is open, can resolve it.
func (c *Client) Resolve(ctx context.Context, unknown *UnknownError) (ID, error) {
	a := unknown.attempt
	if a == nil {
		return None, fmt.Errorf("%w: the unknown error is not one that Append returned", ErrInvalid)
	}
	select {
	case <-a.turn:
		defer func() { a.turn <- struct{}{} }()
	case <-ctx.Done():
		return None, unknown.again(ctx.Err())
	}
	if err := c.adoptAttempt(a); err != nil {
		return None, unknown.again(err)
	}
	return c.await(ctx, a)
}

// adoptAttempt listens to an attempt again, and sends it again if need be.
func (c *Client) adoptAttempt(a *attempt) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	select {
	case <-a.wake: // of an answer nobody waited for, or of an earlier Resolve
	default:
	}
	switch c.monitor.Adopt(&a.Attempt) {
	case monitor.Answered:
		notify(a.wake)
	default:
		if l := c.routes[a.Partition]; l != nil {
			l.stirLocked()
		} else {
			c.router.kick()
		}
	}
	return nil
}
