package session

import (
	"fmt"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// ReplicaState is what one replica remembers, and the rules of PROTOCOL.md by
// which it takes or refuses a message.
//
// A message is handled in three steps that the caller keeps in order: a Check
// method says whether the message is refused, needs a write, or changes nothing
// (a repeat); the write goes into the journal; an Apply method changes the
// state. The answer leaves when the journal holds on disk the message's entry
// and every earlier one of the partition: only that makes a promise hold and
// Last durable (I1, I3). Check may run against a state whose last entries are
// still on their way to the disk, so that appends are pipelined; after a failed
// write the process ends. Recovery replays the journal through the same Apply
// methods.
//
// Invariants: Installed ≤ Promised; Committed ≤ Last; Map describes 0..Last;
// Promised, Installed and Committed never decrease (P4). Not safe for
// concurrent use.
type ReplicaState struct {
	Partition txn.Partition
	Self      Replica       // Incarnation is durable, Start drawn at process start
	Promised  txn.SessionID // highest session promised
	Installed txn.SessionID // session whose start was last installed
	Last      txn.ID        // last record held
	LastStamp txn.SessionID
	Committed txn.ID // lower bound of the committed end
	Map       Map
}

// NewReplicaState returns the state of a replica that was just created.
func NewReplicaState(p txn.Partition, self Replica) *ReplicaState {
	return &ReplicaState{Partition: p, Self: self, Last: txn.None, Committed: txn.None}
}

// Promise returns the answer to Open as of now. The map is a copy.
func (s *ReplicaState) Promise() Promise {
	return Promise{
		Replica: s.Self, Promised: s.Promised, Installed: s.Installed,
		Last: s.Last, Committed: s.Committed, Map: s.Map.Clone(),
	}
}

// CheckOpen says whether a session may be promised, and whether that must be
// written. A session is refused for good once a higher one was promised (I3,
// P3); the same one is answered again.
func (s *ReplicaState) CheckOpen(m Open) (write bool, err error) {
	switch {
	case m.Partition != s.Partition || m.Session <= 0:
		return false, s.refuse("open", m.Session, Malformed, "for partition %d", m.Partition)
	case m.Session < s.Promised:
		return false, s.refuse("open", m.Session, Fenced, "")
	}
	return m.Session > s.Promised, nil
}

// ApplyPromise records a promise.
func (s *ReplicaState) ApplyPromise(session txn.SessionID) { s.Promised = max(s.Promised, session) }

// CheckTruncate says whether records above m.Last may be dropped. Committed
// ones may not (P1), and none at all once the session is installed (rule 6): a
// delayed message must not cut a log that counts.
func (s *ReplicaState) CheckTruncate(m Truncate) (write bool, err error) {
	if err := s.bound("truncate", m.Partition, m.Session, m.Replica); err != nil {
		return false, err
	}
	switch {
	case s.Installed == m.Session && !mutant.On("truncate-after-install"):
		return false, s.refuse("truncate", m.Session, AlreadyInstalled, "")
	case m.Last < s.Committed && !mutant.On("truncate-below-committed"):
		return false, s.refuse("truncate", m.Session, BelowCommitted, "to %d, committed %d", m.Last, s.Committed)
	}
	return m.Last < s.Last, nil
}

// ApplyTruncate drops everything above last.
func (s *ReplicaState) ApplyTruncate(last txn.ID) {
	if last >= s.Last {
		return
	}
	s.Map = s.Map.Cut(last)
	s.Last, s.LastStamp = last, s.Map.StampAt(last)
}

// CheckCopy says whether records that the replica is missing may be added
// before it installs the session. span is m.Records.Check's.
func (s *ReplicaState) CheckCopy(m *Copy, span record.Span) (write bool, err error) {
	if err := s.bound("copy", m.Partition, m.Session, m.Replica); err != nil {
		return false, err
	}
	if s.Installed == m.Session {
		return false, s.refuse("copy", m.Session, AlreadyInstalled, "")
	}
	if span.LastStamp > m.Session {
		return false, s.refuse("copy", m.Session, Malformed, "record %d has stamp %d", span.Last, span.LastStamp)
	}
	return s.continues("copy", m.Session, m.PrevID, m.PrevStamp, m.Records, span)
}

// CheckInstall says whether the replica may become a member of the session: its
// log must end where the leader says.
func (s *ReplicaState) CheckInstall(m Install) (write bool, err error) {
	if err := s.bound("install", m.Partition, m.Session, m.Replica); err != nil {
		return false, err
	}
	switch {
	case s.Installed == m.Session && s.Last >= m.Last:
		return false, nil // a repeat; appends may have come since
	case s.Last != m.Last && !mutant.On("install-end-unchecked"):
		return false, s.refuse("install", m.Session, Mismatch, "at %d", m.Last)
	}
	return true, nil
}

// ApplyInstall records that the session's start is installed.
func (s *ReplicaState) ApplyInstall(session txn.SessionID) { s.Installed = max(s.Installed, session) }

// CheckConfirm says whether the session that the replica has installed is the
// highest that it has promised. A replica that has not installed it is no member
// whose word counts.
func (s *ReplicaState) CheckConfirm(m Confirm) error {
	if err := s.bound("confirm", m.Partition, m.Session, m.Replica); err != nil {
		return err
	}
	if s.Installed != m.Session {
		return s.refuse("confirm", m.Session, NotInstalled, "")
	}
	return nil
}

// CheckAppend says whether new records of an installed session may be added.
// span is m.Records.Check's. A message of which everything is held already is a
// repeat; one of which only a part is held does not happen and is refused.
func (s *ReplicaState) CheckAppend(m *Append, span record.Span) (write bool, err error) {
	if err := s.bound("append", m.Partition, m.Session, m.Replica); err != nil {
		if why, _ := Refused(err); why != Fenced || !mutant.On("append-ignores-promise") {
			return false, err
		}
	}
	if s.Installed != m.Session {
		return false, s.refuse("append", m.Session, NotInstalled, "")
	}
	if stamp := firstStamp(m.Records); stamp != m.Session || span.LastStamp != m.Session {
		return false, s.refuse("append", m.Session, Malformed, "stamps %d to %d", stamp, span.LastStamp)
	}
	return s.continues("append", m.Session, m.PrevID, m.PrevStamp, m.Records, span)
}

// ApplyRecords adds the records of a checked frame behind the log.
func (s *ReplicaState) ApplyRecords(f record.Frame, span record.Span) {
	if span.LastStamp != s.LastStamp {
		s.Map = s.Map.ExtendFrame(f)
	}
	s.Last, s.LastStamp = span.Last, span.LastStamp
}

// ApplyCommitted raises the lower bound of the committed end to what an append
// or a journal entry said.
func (s *ReplicaState) ApplyCommitted(committed txn.ID) {
	s.Committed = max(s.Committed, min(committed, s.Last))
}

// bound checks what every message after Open has in common: the session that
// was promised, and this very incarnation and start (rule 3).
func (s *ReplicaState) bound(message string, p txn.Partition, session txn.SessionID, to Replica) error {
	switch {
	case p != s.Partition:
		return s.refuse(message, session, Malformed, "for partition %d", p)
	case session < s.Promised:
		return s.refuse(message, session, Fenced, "")
	case session > s.Promised:
		return s.refuse(message, session, NotPromised, "")
	case to != s.Self && !mutant.On("messages-not-bound-to-start"):
		return s.refuse(message, session, Replaced, "meant for incarnation %x start %x", to.Incarnation, to.Start)
	}
	return nil
}

// continues checks that a frame fits behind the log, or is held already.
func (s *ReplicaState) continues(message string, session txn.SessionID, prev txn.ID, prevStamp txn.SessionID, f record.Frame, span record.Span) (write bool, err error) {
	if span.Partition != s.Partition || span.First != prev+1 {
		return false, s.refuse(message, session, Malformed, "records %d to %d of partition %d behind %d", span.First, span.Last, span.Partition, prev)
	}
	if prev == s.Last && prevStamp == s.LastStamp || mutant.On("prev-check-dropped") && span.Last > s.Last {
		if first := firstStamp(f); first < max(1, s.LastStamp) {
			return false, s.refuse(message, session, Malformed, "stamp %d follows stamp %d", first, s.LastStamp)
		}
		return true, nil
	}
	if s.holds(prev, prevStamp, f, span) {
		return false, nil
	}
	return false, s.refuse(message, session, Mismatch, "continues (%d, %d), the log ends at (%d, %d)", prev, prevStamp, s.Last, s.LastStamp)
}

// holds reports whether the log has all records of a frame: agreeing on the
// last one's (ID, stamp) means equal up to it.
func (s *ReplicaState) holds(prev txn.ID, prevStamp txn.SessionID, f record.Frame, span record.Span) bool {
	return span.Last <= s.Last && s.Map.StampAt(prev) == prevStamp &&
		s.Map.StampAt(span.First) == firstStamp(f) && s.Map.StampAt(span.Last) == span.LastStamp
}

// firstStamp returns the stamp of the first record of a checked frame.
func firstStamp(f record.Frame) txn.SessionID {
	for r := range f.Trusted() {
		return r.Stamp
	}
	return 0
}

func (s *ReplicaState) refuse(message string, session txn.SessionID, why Reason, format string, args ...any) error {
	return &RefusedError{
		Message: message, Reason: why, Partition: s.Partition, Session: session,
		Promised: s.Promised, Installed: s.Installed, Last: s.Last, LastStamp: s.LastStamp,
		Detail: fmt.Sprintf(format, args...),
	}
}
