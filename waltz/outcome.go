package waltz

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// outcome turns a server's answer into what Append returns.
func outcome(p Partition, o monitor.Outcome) (ID, error) {
	switch wire.Reason(o.Reason) {
	case 0:
		return o.ID, nil
	case wire.LockConflict:
		return None, &LockConflictError{Partition: p, TransactionID: o.ID}
	case wire.Stale:
		return None, &StaleError{Partition: p, Floor: o.ID}
	}
	err := kindOf(wire.Reason(o.Reason))
	if o.Limit > 0 {
		err = fmt.Errorf("%w: the log takes %d", err, o.Limit)
	}
	if o.Message != "" {
		err = fmt.Errorf("%w: %s", err, o.Message)
	}
	return None, err
}

// kindOf is the one table from a server's reason to the error that a caller
// tests for.
func kindOf(r wire.Reason) error {
	switch r {
	case wire.TooLarge:
		return ErrTooLarge
	case wire.TooManyLocks:
		return ErrTooManyLocks
	case wire.Invalid:
		return ErrInvalid
	case wire.NoPartition:
		return ErrNoPartition
	case wire.OtherCluster:
		return ErrOtherCluster
	case wire.StorageFull:
		return ErrStorageFull
	case wire.Corrupt:
		return ErrCorrupt
	case wire.OutOfRange:
		return ErrOutOfRange
	case wire.NotOwner, wire.Unavailable, wire.ShuttingDown, wire.MarkTooOld:
		return ErrUnavailable
	}
	return fmt.Errorf("server refuses for a reason that this client doesn't know: %v", r)
}

// errNotWaltz is the answer of a server that speaks something else.
var errNotWaltz = errors.New("not a Waltz server, or one of another version")

// callError turns the error of an RPC into the client's.
func callError(err error) error {
	if status.Code(err) == codes.Unimplemented {
		return fmt.Errorf("%w: %w", errNotWaltz, err)
	}
	err = wire.FromStatus(err)
	var refused *wire.Error
	if !errors.As(err, &refused) {
		return err
	}
	_, err = outcome(0, monitor.Outcome{
		Reason: monitor.Reason(refused.Reason), ID: refused.TransactionID, Limit: refused.Limit, Message: refused.Message,
	})
	return err
}

// forGood reports errors of a read that asking again doesn't cure.
func forGood(err error) bool {
	for _, e := range []error{ErrCorrupt, ErrInvalid, ErrNoPartition, ErrOutOfRange, ErrOtherCluster, ErrClosed, errNotWaltz} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
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
