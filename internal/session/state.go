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
