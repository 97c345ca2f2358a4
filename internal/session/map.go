package session

import (
	"fmt"
	"slices"
	"sort"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Map summarises a log: the list of (stamp, first ID) in the order of the log.
// Stamps and first IDs both grow from entry to entry, and the first entry
// begins at ID 0. Two logs that agree on (ID, stamp) at an ID are equal up to
// it, since a session has one writer that writes each ID once.
type Map []StampStart

// StampAt returns the stamp of the record with the given ID, which the log must
// hold; 0 for [txn.None], the place before the first record.
func (m Map) StampAt(id txn.ID) txn.SessionID {
	if i := m.run(id); i >= 0 {
		return m[i].Stamp
	}
	return 0
}

// run returns the index of the entry that covers id, -1 if none does.
func (m Map) run(id txn.ID) int {
	return sort.Search(len(m), func(i int) bool { return m[i].First > id }) - 1
}

// first returns where the run that covers id begins.
func (m Map) first(id txn.ID) txn.ID {
	if i := m.run(id); i >= 0 {
		return m[i].First
	}
	return 0
}

// Extend returns the map of a log that goes on at first with records of a
// stamp. It may change m's array, as append does.
func (m Map) Extend(stamp txn.SessionID, first txn.ID) Map {
	if n := len(m); n > 0 && m[n-1].Stamp == stamp {
		return m
	}
	return append(m, StampStart{Stamp: stamp, First: first})
}

// ExtendFrame is Extend for every record of a frame that has been checked.
func (m Map) ExtendFrame(f record.Frame) Map {
	for r := range f.Trusted() {
		m = m.Extend(r.Stamp, r.ID)
	}
	return m
}

// Cut returns the map of a log from which everything above last was dropped. It
// shares m's array.
func (m Map) Cut(last txn.ID) Map { return m[:m.run(last)+1] }

// Clone returns a copy that shares nothing with m.
func (m Map) Clone() Map { return slices.Clone(m) }

// Check reports a map that no log ending at last can have.
func (m Map) Check(last txn.ID) error {
	if (len(m) == 0) != (last == txn.None) {
		return fmt.Errorf("session map has %d entries for a log that ends at %d", len(m), last)
	}
	for i, e := range m {
		switch {
		case i == 0 && e.First != 0:
			return fmt.Errorf("session map begins at %d, not at 0", e.First)
		case i > 0 && (e.First <= m[i-1].First || e.Stamp <= m[i-1].Stamp):
			return fmt.Errorf("session map does not grow at entry %d: %v", i, m)
		case e.First > last:
			return fmt.Errorf("session map reaches %d, the log ends at %d", e.First, last)
		}
	}
	return nil
}

// Agreement returns the highest ID up to which two logs, given by their maps
// and ends, hold the same records; [txn.None] if they share none.
func Agreement(a Map, aLast txn.ID, b Map, bLast txn.ID) txn.ID {
	id := min(aLast, bLast)
	for id >= 0 && a.StampAt(id) != b.StampAt(id) {
		// Different stamps at id mean different runs down to where the later begins.
		id = max(a.first(id), b.first(id)) - 1
	}
	return id
}
