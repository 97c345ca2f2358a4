package waltz

import (
	"context"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

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
	if a.Unsure && errors.Is(err, ErrCorrupt) { // says nothing of the sendings before it (I8)
		return None, unknownOutcome(a, err)
	}
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
	return None, unknownOutcome(a, withTrouble(cause, trouble))
}

// unknownOutcome ends a call whose transaction may have been committed.
func unknownOutcome(a *attempt, err error) error {
	if a.turn == nil {
		a.turn = make(chan struct{}, 1)
		a.turn <- struct{}{}
	}
	return &UnknownError{Partition: a.Partition, RequestID: a.request, Err: err, attempt: a}
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
