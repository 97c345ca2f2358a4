package session

import (
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
)

// PartitionState is M: what the cluster's metadata remembers of one partition.
// It is changed by compare-and-set on its version only (rule 1). The zero value
// but for Target is that of a new partition.
type PartitionState struct {
	Generation int64         `json:"generation"` // number of the assignment
	Session    txn.SessionID `json:"session"`    // latest session claimed
	Opened     txn.SessionID `json:"opened"`     // last session that opened
	Members    []Member      `json:"members"`    // replicas of Opened
	Target     []string      `json:"target"`     // storages that should be members

	Recoveries []Recovery `json:"recoveries,omitempty"` // the latest ones, oldest first
}

// Recovery remembers that an operator gave up a majority of members for good, by
// writing another one into M, with the log that was left. What the others held
// beyond it is gone, acknowledged or not: P1 and I1 hold anew from there on.
type Recovery struct {
	At        txn.Timestamp `json:"at_us"`
	Session   txn.SessionID `json:"session"` // claimed for it: everything below is fenced
	Kept      string        `json:"kept"`    // the storage whose replica is the log now
	Last      txn.ID        `json:"last"`    // where that ended
	LastStamp txn.SessionID `json:"last_stamp"`
	Installed txn.SessionID `json:"installed"` // what it had installed
	Opened    txn.SessionID `json:"opened"`    // the last session that had opened before
	Gone      []string      `json:"gone"`      // the members that were given up
}

// recoveriesMax is how many recoveries M remembers.
const recoveriesMax = 16

// Recover returns M with one replica for its only member and target, and a session
// number claimed above all that were, so that whoever opens one, or has one open,
// must begin anew. The replica is as it was found; r names it and is completed.
func (s PartitionState) Recover(kept Member, r Recovery) PartitionState {
	next := s.Clone()
	next.Session = s.Session + 1
	next.Members, next.Target = []Member{kept}, []string{kept.Storage}
	r.Session, r.Kept, r.Installed, r.Opened, r.Gone = next.Session, kept.Storage, kept.Installed, s.Opened, nil
	for _, m := range s.Members {
		if m.Storage != kept.Storage {
			r.Gone = append(r.Gone, m.Storage)
		}
	}
	next.Recoveries = append(next.Recoveries, r)
	next.Recoveries = next.Recoveries[max(0, len(next.Recoveries)-recoveriesMax):]
	return next
}

// Member is one replica of the session that opened last.
type Member struct {
	Storage     string        `json:"storage"`     // the storage's name
	Incarnation Incarnation   `json:"incarnation"` // 0: it has not answered yet
	Installed   txn.SessionID `json:"installed"`   // highest session known to be installed
}

// Member returns the member on a storage, if there is one.
func (s PartitionState) Member(storage string) (Member, bool) {
	i := slices.IndexFunc(s.Members, func(m Member) bool { return m.Storage == storage })
	if i < 0 {
		return Member{}, false
	}
	return s.Members[i], true
}

// Replicas returns the storages in members ∪ target, members first.
func (s PartitionState) Replicas() []string {
	var all []string
	for _, m := range s.Members {
		all = append(all, m.Storage)
	}
	for _, t := range s.Target {
		if !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return all
}

// same reports whether M is what it was, but for what is remembered of recoveries.
func (s PartitionState) same(as PartitionState) bool {
	return s.Generation == as.Generation && s.Session == as.Session && s.Opened == as.Opened &&
		slices.Equal(s.Members, as.Members) && slices.Equal(s.Target, as.Target)
}

// Clone returns a copy that shares nothing with s.
func (s PartitionState) Clone() PartitionState {
	s.Members, s.Target, s.Recoveries = slices.Clone(s.Members), slices.Clone(s.Target), slices.Clone(s.Recoveries)
	return s
}
