package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
)

// Reason says why the server refused something. The values are the contract's.
type Reason int32

// The reasons; the contract explains them.
const (
	LockConflict  = Reason(clientpb.Reason_REASON_LOCK_CONFLICT)
	Stale         = Reason(clientpb.Reason_REASON_STALE)
	TooLarge      = Reason(clientpb.Reason_REASON_TOO_LARGE)
	TooManyLocks  = Reason(clientpb.Reason_REASON_TOO_MANY_LOCKS)
	Invalid       = Reason(clientpb.Reason_REASON_INVALID)
	NoPartition   = Reason(clientpb.Reason_REASON_NO_PARTITION)
	NotOwner      = Reason(clientpb.Reason_REASON_NOT_OWNER)
	Unavailable   = Reason(clientpb.Reason_REASON_UNAVAILABLE)
	StorageFull   = Reason(clientpb.Reason_REASON_STORAGE_FULL)
	OtherCluster  = Reason(clientpb.Reason_REASON_OTHER_CLUSTER)
	ShuttingDown  = Reason(clientpb.Reason_REASON_SHUTTING_DOWN)
	MarkTooOld    = Reason(clientpb.Reason_REASON_MARK_TOO_OLD)
	Corrupt       = Reason(clientpb.Reason_REASON_CORRUPT)
	OutOfRange    = Reason(clientpb.Reason_REASON_OUT_OF_RANGE)
	reasonUnknown = Reason(clientpb.Reason_REASON_UNSPECIFIED)
)

// reasons is the one table of refusals: what each says when nothing better is
// known, and the status code that it travels under when it ends a call.
var reasons = [...]struct {
	reason Reason
	code   codes.Code
	text   string
}{
	{LockConflict, codes.Aborted, "lock conflict"},
	{Stale, codes.FailedPrecondition, "high-water mark is stale"},
	{TooLarge, codes.InvalidArgument, "transaction is too large"},
	{TooManyLocks, codes.InvalidArgument, "transaction has too many locks"},
	{Invalid, codes.InvalidArgument, "request is malformed"},
	{NoPartition, codes.NotFound, "partition is out of range"},
	{NotOwner, codes.Unavailable, "server does not own the partition"},
	{Unavailable, codes.Unavailable, "log is unavailable"},
	{StorageFull, codes.ResourceExhausted, "storages have no space left"},
	{OtherCluster, codes.FailedPrecondition, "this is another cluster"},
	{ShuttingDown, codes.Unavailable, "server is shutting down"},
	{MarkTooOld, codes.FailedPrecondition, "sent high-water mark is too old"},
	{Corrupt, codes.DataLoss, "log is damaged"},
	{OutOfRange, codes.OutOfRange, "transaction is beyond the log's end"},
}

func (r Reason) String() string {
	for _, row := range reasons {
		if row.reason == r {
			return row.text
		}
	}
	return fmt.Sprintf("reason(%d)", int32(r))
}

// Label returns the reason as metrics name it, say lock_conflict; "" if it is
// not of this contract.
func (r Reason) Label() string {
	name, ok := clientpb.Reason_name[int32(r)]
	if !ok {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(name, "REASON_"))
}

func (r Reason) code() codes.Code {
	for _, row := range reasons {
		if row.reason == r {
			return row.code
		}
	}
	return codes.Unknown
}

// Error is a refusal: of one transaction, or of a call.
type Error struct {
	Reason        Reason
	TransactionID txn.ID // LockConflict: the cause; Stale: the floor; MarkTooOld: the high-water mark
	Limit         int64  // TooLarge, TooManyLocks: what is allowed
	Message       string // more than the reason says; may be empty
}

// Refuse makes a refusal with a message.
func Refuse(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Reason.String()
	}
	return e.Reason.String() + ": " + e.Message
}

// ReasonOf returns the reason if err is or wraps a refusal.
func ReasonOf(err error) (Reason, bool) {
	var e *Error
	if !errors.As(err, &e) {
		return reasonUnknown, false
	}
	return e.Reason, true
}

// Status turns the error of a call into what a gRPC handler returns. A refusal
// travels whole, as a detail; the caller's own cancellation as what it is.
func Status(err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.status()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}

func (e *Error) status() error {
	s := status.New(e.Reason.code(), e.Error())
	detailed, err := s.WithDetails(&clientpb.Refused{
		Reason: clientpb.Reason(e.Reason), TransactionId: int64(e.TransactionID), Limit: e.Limit, Message: e.Message,
	})
	if err != nil {
		return s.Err()
	}
	return detailed.Err()
}

// FromStatus is the way back: a refusal becomes an [*Error] again, the end of
// the caller's context a context error; whatever else happened on the way
// becomes an [*Error] with reason Unavailable if trying again may help, and
// stays as it is if not.
func FromStatus(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	for _, d := range s.Details() {
		if r, ok := d.(*clientpb.Refused); ok {
			return RefusedError(r)
		}
	}
	switch s.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Unavailable, codes.Aborted:
		return Refuse(Unavailable, "%s", words(s))
	}
	return err
}

// RefusedError returns the refusal in a contract's message.
func RefusedError(r *clientpb.Refused) *Error {
	return &Error{
		Reason: Reason(r.GetReason()), TransactionID: txn.ID(r.GetTransactionId()), Limit: r.GetLimit(), Message: r.GetMessage(),
	}
}
