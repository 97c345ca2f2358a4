package session

import (
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/txn"
)

// Reason says why a replica refused a message.
type Reason uint8

// The reasons.
const (
	// Fenced: the replica has promised a higher session (RefusedError.Promised).
	// The sender's session is over.
	Fenced Reason = 1 + iota
	// NotPromised: the replica has not promised the session yet; open it first.
	NotPromised
	// Replaced: the message is bound to another incarnation or to a start before
	// the last one; open the replica anew.
	Replaced
	// AlreadyInstalled: Truncate and Copy come too late, the log counts already.
	AlreadyInstalled
	// NotInstalled: Append comes too early, the session's start is not installed.
	NotInstalled
	// Mismatch: the replica's log does not end where the message continues.
	Mismatch
	// BelowCommitted: Truncate would drop records that were committed.
	BelowCommitted
	// Malformed: the message contradicts itself, or is for another partition.
	Malformed
)

func (r Reason) String() string {
	switch r {
	case Fenced:
		return "a higher session was promised"
	case NotPromised:
		return "the session was not promised"
	case Replaced:
		return "the replica was restarted or replaced"
	case AlreadyInstalled:
		return "the session is installed already"
	case NotInstalled:
		return "the session is not installed"
	case Mismatch:
		return "it does not continue the log"
	case BelowCommitted:
		return "it would drop committed records"
	case Malformed:
		return "the message is malformed"
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// RefusedError is a replica's refusal of a message, with the state that it
// refused from. Nothing was changed.
type RefusedError struct {
	Message   string // what was refused: open, truncate, copy, install, append
	Reason    Reason
	Partition txn.Partition
	Session   txn.SessionID // the message's
	Promised  txn.SessionID // the replica's
	Installed txn.SessionID
	Last      txn.ID
	LastStamp txn.SessionID
	Detail    string // what did not fit; may be empty
}

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("%s of partition %d in session %d refused: %s (promised %d, installed %d, last %d)",
		e.Message, e.Partition, e.Session, e.Reason, e.Promised, e.Installed, e.Last)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Refused returns the reason if err is or wraps a replica's refusal.
func Refused(err error) (Reason, bool) {
	var r *RefusedError
	if !errors.As(err, &r) {
		return 0, false
	}
	return r.Reason, true
}
