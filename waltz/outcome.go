package waltz

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/waltz/internal/codec"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

func outcomeOf(r *codec.Refused) monitor.Outcome {
	reason := monitor.Reason(255) // of a newer contract
	if r.Reason >= 0 && r.Reason <= int32(monitor.ShuttingDown) {
		reason = monitor.Reason(r.Reason)
	}
	return monitor.Outcome{Reason: reason, ID: r.TransactionID, Limit: r.Limit, Message: r.Message}
}

// outcome is the one table from a server's answer to what Append returns.
func outcome(p Partition, o monitor.Outcome) (ID, error) {
	switch o.Reason {
	case monitor.Accepted:
		return o.ID, nil
	case monitor.LockConflict:
		return None, &LockConflictError{Partition: p, TransactionID: o.ID}
	case monitor.Stale:
		return None, &StaleError{Partition: p, Floor: o.ID}
	case monitor.TooLarge:
		return None, refusal(ErrTooLarge, o)
	case monitor.TooManyLocks:
		return None, refusal(ErrTooManyLocks, o)
	case monitor.Invalid:
		return None, refusal(ErrInvalid, o)
	case monitor.NoPartition:
		return None, refusal(ErrNoPartition, o)
	case monitor.OtherCluster:
		return None, refusal(ErrOtherCluster, o)
	case monitor.StorageFull:
		return None, refusal(ErrStorageFull, o)
	case monitor.Unavailable, monitor.NotOwner, monitor.ShuttingDown:
		return None, refusal(ErrUnavailable, o)
	}
	return None, refusal(errors.New("server refuses for a reason that this client doesn't know"), o)
}

func refusal(err error, o monitor.Outcome) error {
	if o.Limit > 0 {
		err = fmt.Errorf("%w: the log takes %d", err, o.Limit)
	}
	if o.Message != "" {
		err = fmt.Errorf("%w: %s", err, o.Message)
	}
	return err
}

func noPartition(p Partition, partitions int) error {
	return fmt.Errorf("%w: %d, the log has 0 to %d", ErrNoPartition, p, partitions-1)
}

// notCommitted is the error of an append that ended before anything could have
// been committed.
func notCommitted(p Partition, cause, trouble error) error {
	return fmt.Errorf("append to partition %d: nothing was committed: %w", p, withTrouble(cause, trouble))
}

func withTrouble(cause, trouble error) error {
	if trouble == nil {
		return cause
	}
	return fmt.Errorf("%w (last trouble: %w)", cause, trouble)
}

// again is the same unknown after another wait ended.
func (e *UnknownError) again(cause error) error {
	return &UnknownError{Partition: e.Partition, RequestID: e.RequestID, Err: cause, attempt: e.attempt}
}

// statusError turns an RPC's error into the client's, keeping its text.
func statusError(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	kind := kindOf(s.Code())
	if kind == nil {
		return err
	}
	return fmt.Errorf("%w: %s", kind, s.Message())
}

func kindOf(code codes.Code) error {
	switch code {
	case codes.Unavailable:
		return ErrUnavailable
	case codes.ResourceExhausted:
		return ErrStorageFull
	case codes.DataLoss:
		return ErrCorrupt
	case codes.InvalidArgument:
		return ErrInvalid
	case codes.NotFound, codes.OutOfRange:
		return ErrNoPartition
	case codes.FailedPrecondition:
		return ErrOtherCluster
	}
	return nil
}
