package wire

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// Headers of every call to a storage, and the version of the contract.
const (
	HeaderProtocol  = "waltz-protocol"
	HeaderCluster   = "waltz-cluster"
	HeaderStorage   = "waltz-storage"
	StorageProtocol = 1
)

// StorageReason says why a storage failed a call. The values are the contract's.
type StorageReason int32

// The reasons; the contract explains them.
const (
	StorageRefused       = StorageReason(storagepb.Reason_REASON_REFUSED)
	StorageDiskFull      = StorageReason(storagepb.Reason_REASON_FULL)
	StorageDamaged       = StorageReason(storagepb.Reason_REASON_DAMAGED)
	StorageCorrupt       = StorageReason(storagepb.Reason_REASON_CORRUPT)
	StorageNoReplica     = StorageReason(storagepb.Reason_REASON_NO_REPLICA)
	StorageOutOfRange    = StorageReason(storagepb.Reason_REASON_OUT_OF_RANGE)
	StorageWithoutData   = StorageReason(storagepb.Reason_REASON_WITHOUT_DATA)
	StorageHasFailed     = StorageReason(storagepb.Reason_REASON_FAILED)
	StorageClosed        = StorageReason(storagepb.Reason_REASON_CLOSED)
	StorageOtherCluster  = StorageReason(storagepb.Reason_REASON_OTHER_CLUSTER)
	StorageOtherName     = StorageReason(storagepb.Reason_REASON_OTHER_STORAGE)
	StorageOtherProtocol = StorageReason(storagepb.Reason_REASON_OTHER_PROTOCOL)
	StorageNoCluster     = StorageReason(storagepb.Reason_REASON_NO_CLUSTER)
	StorageOutOfService  = StorageReason(storagepb.Reason_REASON_OUT_OF_SERVICE)
	StorageInvalid       = StorageReason(storagepb.Reason_REASON_INVALID)
	StorageUnimplemented = StorageReason(storagepb.Reason_REASON_UNIMPLEMENTED)
	StorageBusy          = StorageReason(storagepb.Reason_REASON_BUSY)
	StorageNeedsReset    = StorageReason(storagepb.Reason_REASON_NEEDS_RESET)
	StorageNotCommitted  = StorageReason(storagepb.Reason_REASON_NOT_COMMITTED)
	StorageOtherRecords  = StorageReason(storagepb.Reason_REASON_OTHER_RECORDS)
	StorageOtherReplica  = StorageReason(storagepb.Reason_REASON_OTHER_INCARNATION)
)

// storageCodes are the status codes that reasons travel under.
var storageCodes = map[StorageReason]codes.Code{
	StorageRefused:       codes.FailedPrecondition,
	StorageDiskFull:      codes.ResourceExhausted,
	StorageDamaged:       codes.DataLoss,
	StorageCorrupt:       codes.DataLoss,
	StorageNoReplica:     codes.NotFound,
	StorageOutOfRange:    codes.OutOfRange,
	StorageWithoutData:   codes.InvalidArgument,
	StorageHasFailed:     codes.Unavailable,
	StorageClosed:        codes.Unavailable,
	StorageOtherCluster:  codes.FailedPrecondition,
	StorageOtherName:     codes.FailedPrecondition,
	StorageOtherProtocol: codes.FailedPrecondition,
	StorageNoCluster:     codes.FailedPrecondition,
	StorageOutOfService:  codes.FailedPrecondition,
	StorageInvalid:       codes.InvalidArgument,
	StorageUnimplemented: codes.Unimplemented,
	StorageBusy:          codes.ResourceExhausted,
	StorageNeedsReset:    codes.FailedPrecondition,
	StorageNotCommitted:  codes.FailedPrecondition,
	StorageOtherRecords:  codes.DataLoss,
	StorageOtherReplica:  codes.FailedPrecondition,
}

// StorageDamage says which records can't be read, and where they lie.
type StorageDamage struct {
	Partition   txn.Partition
	First, Last txn.ID
	File        string
	Offset      int64
	Reason      string
}

// StorageError is why a storage failed a call or an append, as it travels. It
// unwraps to the *[session.RefusedError], to [session.ErrFull] or
// [session.ErrBusy], and for damage and
// corruption to a *[record.CorruptError].
type StorageError struct {
	Reason  StorageReason
	Message string
	Refused *session.RefusedError // of StorageRefused
	Damage  *StorageDamage        // of StorageDamaged and StorageCorrupt
}

// FailStorage makes a StorageError with a message.
func FailStorage(r StorageReason, format string, args ...any) *StorageError {
	return &StorageError{Reason: r, Message: fmt.Sprintf(format, args...)}
}

func (e *StorageError) Error() string { return e.Message }

// Unwrap returns what the reason stands for on this side of the wire.
func (e *StorageError) Unwrap() error {
	switch e.Reason {
	case StorageRefused:
		if e.Refused != nil {
			return e.Refused
		}
	case StorageDiskFull:
		return session.ErrFull
	case StorageBusy:
		return session.ErrBusy
	case StorageDamaged, StorageCorrupt:
		c := &record.CorruptError{Reason: e.Message}
		if e.Damage != nil {
			c.Offset, c.Reason = e.Damage.Offset, e.Damage.Reason
		}
		return c
	}
	return nil
}

// StorageReasonOf returns the reason if err is or wraps a StorageError.
func StorageReasonOf(err error) (StorageReason, bool) {
	e, ok := errors.AsType[*StorageError](err)
	if !ok {
		return 0, false
	}
	return e.Reason, true
}

// StorageStatus turns the error of a call into what a storage's gRPC handler
// returns.
func StorageStatus(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*StorageError](err)
	switch {
	case ok:
		return e.status()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Err()
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Internal, err.Error())
}

func (e *StorageError) status() error {
	code, ok := storageCodes[e.Reason]
	if !ok {
		code = codes.Internal
	}
	s := status.New(code, e.Message)
	detailed, err := s.WithDetails(e.failure())
	if err != nil {
		return s.Err()
	}
	return detailed.Err()
}

// FromStorageStatus is the way back: a *[StorageError] where the storage has said
// why, the end of the caller's context as what it is, any other error in plain words
// ([Plain]).
func FromStorageStatus(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	for _, d := range s.Details() {
		if f, ok := d.(*storagepb.Failure); ok {
			return storageError(f)
		}
	}
	switch s.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	return Plain(err)
}

func (e *StorageError) failure() *storagepb.Failure {
	f := &storagepb.Failure{Reason: storagepb.Reason(e.Reason), Message: e.Message}
	if r := e.Refused; r != nil {
		f.Refused = &storagepb.Refused{
			Message: r.Message, Why: int32(r.Reason), Partition: int32(r.Partition), Session: int64(r.Session),
			Promised: int64(r.Promised), Installed: int64(r.Installed), Last: int64(r.Last), LastStamp: int64(r.LastStamp), Detail: r.Detail,
		}
	}
	if e.Damage != nil {
		f.Damage = e.Damage.Proto()
	}
	return f
}

func storageError(f *storagepb.Failure) *StorageError {
	e := &StorageError{Reason: StorageReason(f.GetReason()), Message: f.GetMessage()}
	if r := f.GetRefused(); r != nil {
		e.Refused = &session.RefusedError{
			Message: r.GetMessage(), Reason: session.Reason(r.GetWhy()), Partition: txn.Partition(r.GetPartition()), Session: txn.SessionID(r.GetSession()),
			Promised: txn.SessionID(r.GetPromised()), Installed: txn.SessionID(r.GetInstalled()), Last: txn.ID(r.GetLast()), LastStamp: txn.SessionID(r.GetLastStamp()),
			Detail: r.GetDetail(),
		}
	}
	if d := f.GetDamage(); d != nil {
		e.Damage = StorageDamageOf(d)
	}
	return e
}

// LostRecords reports whether it is damage of records; that of an index loses none.
func (d StorageDamage) LostRecords() bool { return d.Last >= d.First }

// Proto returns the contract's form.
func (d *StorageDamage) Proto() *storagepb.Damage {
	return &storagepb.Damage{
		Partition: int32(d.Partition), First: int64(d.First), Last: int64(d.Last), File: d.File, Offset: d.Offset, Reason: d.Reason,
	}
}

// StorageDamageOf reads the contract's form.
func StorageDamageOf(d *storagepb.Damage) *StorageDamage {
	return &StorageDamage{
		Partition: txn.Partition(d.GetPartition()), First: txn.ID(d.GetFirst()), Last: txn.ID(d.GetLast()),
		File: d.GetFile(), Offset: d.GetOffset(), Reason: d.GetReason(),
	}
}
