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

var reasons = map[Reason]string{
	Fenced: "a higher session was promised", NotPromised: "the session was not promised",
	Replaced: "the replica was restarted or replaced", AlreadyInstalled: "the session is installed already",
	NotInstalled: "the session is not installed", Mismatch: "it does not continue the log",
	BelowCommitted: "it would drop committed records", Malformed: "the message is malformed",
}

func (r Reason) String() string {
	if s, ok := reasons[r]; ok {
		return s
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
