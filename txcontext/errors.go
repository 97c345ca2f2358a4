package txcontext

import (
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/waltz"
)

// Errors of a run.
var (
	// ErrClosed is what a runner that is shut down answers, and the cause that ends
	// what was in flight at its deadline.
	ErrClosed = errors.New("transaction context runner is closed")
	// ErrAttempts is the cause of an [ExpiredError] whose attempts were used up.
	ErrAttempts = errors.New("attempts are used up")
	// ErrNothingPut fails a run whose Execute neither put a transaction nor declined.
	ErrNothingPut = errors.New("execute returned without a transaction: call Put, or return Decline(reason)")
)

// DeclinedError ends a run whose Execute declined. errors.Is and errors.As see
// the reason through it.
type DeclinedError struct {
	Partition waltz.Partition
	// Mark is the high-water mark of the one snapshot that it was decided on.
	Mark   waltz.ID
	Reason error
}

func (e *DeclinedError) Error() string {
	return fmt.Sprintf("declined in partition %d at transaction %d: %v", e.Partition, e.Mark, e.Reason)
}

// Unwrap returns the reason.
func (e *DeclinedError) Unwrap() error { return e.Reason }

// ExpiredError ends a run that used up its attempts or its time while nothing of
// it was under way: it is certain that no transaction was committed. It wraps
// ErrAttempts or the context's error, and the last refusal, if any.
type ExpiredError struct {
	Partition waltz.Partition
	Attempts  int
	Cause     error // ErrAttempts, or why the context ended
	Last      error // the last lock conflict or stale answer, or nil
}

func (e *ExpiredError) Error() string {
	if e.Last == nil {
		return fmt.Sprintf("expired in partition %d after %d attempts: %v", e.Partition, e.Attempts, e.Cause)
	}
	return fmt.Sprintf("expired in partition %d after %d attempts: %v; last answer: %v", e.Partition, e.Attempts, e.Cause, e.Last)
}

// Unwrap returns the cause and the last answer.
func (e *ExpiredError) Unwrap() []error {
	if e.Last == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Last}
}

// NotAppliedError ends a run with WaitApplied whose transaction is committed, as
// the result says, but whose context ended before the view showed it.
type NotAppliedError struct {
	Partition waltz.Partition
	ID        waltz.ID
	Err       error // what the view said
}

func (e *NotAppliedError) Error() string {
	return fmt.Sprintf("transaction %d of partition %d is committed, but the view does not show it yet: %v", e.ID, e.Partition, e.Err)
}

// Unwrap returns what the view said.
func (e *NotAppliedError) Unwrap() error { return e.Err }

// Decline returns the error with which Execute ends the run for the reason given,
// without a transaction: not enough money, seat taken. The run returns a
// [*DeclinedError] that wraps the reason; a nil reason is replaced by a plain one.
func Decline(reason error) error {
	if reason == nil {
		reason = errors.New("no reason given")
	}
	return &decline{reason}
}

type decline struct{ reason error }

func (d *decline) Error() string { return "declined: " + d.reason.Error() }
func (d *decline) Unwrap() error { return d.reason }
