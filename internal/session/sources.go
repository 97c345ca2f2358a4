package session

import (
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/txn"
)

// Sources returns the storages that the records of a SendCopy may be read from,
// From first: the others are for when From can't give them, for damage say. None
// of them has to be a majority's, since equal (ID, stamp) means equal records.
func (l *Leader) Sources(o SendCopy) []string {
	names := []string{o.From}
	for _, r := range l.replicas {
		if r.storage != o.Storage && !slices.Contains(names, r.storage) && l.holds(r, o.Last) {
			names = append(names, r.storage)
		}
	}
	return names
}

// holds reports whether a replica's log is the session's up to an ID.
func (l *Leader) holds(r *replica, last txn.ID) bool {
	switch {
	case r.step >= taking:
		return r.last >= last
	case l.phase < open && r.step >= promised:
		return Agreement(l.logMap, l.high, r.promise.Map, r.promise.Last) >= last
	}
	return false
}

// Counts reports whether a replica, as it was opened, counts towards a majority:
// M records that it installed the session.
func (l *Leader) Counts(storage string, self Replica) bool {
	r := l.replica(storage)
	return r != nil && r.step == counted && r.promise.Replica == self
}

// Agrees reports whether records that a storage gave, the last of which is (last,
// stamp), are those of the session's log. A read is bound to no start, so it may
// come from a disk that was put back since the replica was opened, with a tail
// that was never committed (rule 3). Equal (ID, stamp) means equal up to it. last
// must not be above what was appended.
func (l *Leader) Agrees(last txn.ID, stamp txn.SessionID) bool {
	return l.logMap.StampAt(last) == stamp || mutant.On("reads-from-another-log")
}
