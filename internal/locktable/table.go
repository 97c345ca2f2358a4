// Package locktable decides whether a transaction was computed from stale state
// (I5). It remembers, for the recent past of one partition, which transaction
// last took each lock for write or append. It is pure: one goroutine owns a
// table; time, log and network are somebody else's.
//
// It is exact: a conflict is only ever reported with a transaction that really
// took the lock, and none since the client's high-water mark is missed. What it
// has forgotten it says: the *floor* is the highest transaction ID of which a
// mark was evicted, and a client whose high-water mark lies below it can't be
// judged, and is told so (stale). The rejected alternative, the original's
// hashed table of fixed size, forgets nothing but reports conflicts that never
// were, at any load.
//
// Marks lie in a ring in the order of their IDs, 16 bytes each; an index of
// 8-byte slots leads from a lock's hash to its last mark. Both grow by doubling,
// so that an idle partition takes next to nothing; otherwise nothing allocates.
package locktable

import (
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/probe"
	"github.com/waltz-log/waltz/internal/txn"
)

// Verdict is the outcome of Check.
type Verdict uint8

// The verdicts.
const (
	OK       Verdict = iota
	Conflict         // with the returned transaction, which took a lock since
	Stale            // the high-water mark is below the returned floor
)

// mark says that transaction id took the lock.
type mark struct {
	hash txn.LockHash
	id   txn.ID
}

// Table is the lock table of one partition. Make it with New.
type Table struct {
	transactionsMax int
	marksMax        int

	ring  []mark // length is a power of two, or 0
	head  uint64 // number of the oldest mark; it lies at head & (len-1)
	tail  uint64 // number of the next mark
	index probe.Index
	floor txn.ID
}

// New makes an empty table that remembers the marks of the last
// transactionsMax transactions, but at most marksMax marks. floor is the last
// transaction whose locks it has not seen: None at the start of a log.
func New(transactionsMax, marksMax int, floor txn.ID) *Table {
	return &Table{transactionsMax: transactionsMax, marksMax: marksMax, floor: floor}
}

// Floor returns the highest transaction ID of which a mark was forgotten.
func (t *Table) Floor() txn.ID { return t.floor }

// Marks returns how many marks are remembered.
func (t *Table) Marks() int { return int(t.tail - t.head) }

// Bytes returns the memory taken, in bytes.
func (t *Table) Bytes() int { return 16*len(t.ring) + t.index.Bytes() }

// Check judges a transaction with these locks that was computed from the state
// at high-water mark hwm. With Conflict comes the highest transaction that took
// one of its read or write locks since: retrying before the client has applied
// that one is pointless. With Stale comes the floor. A conflict that is known
// wins over stale, since it says more and implies it.
func (t *Table) Check(locks []txn.Lock, hwm txn.ID) (Verdict, txn.ID) {
	cause, checks := txn.None, false
	for _, l := range locks {
		if !l.Mode.Checks() {
			continue
		}
		checks = true
		cause = max(cause, t.last(l.Hash))
	}
	switch {
	case !checks:
		return OK, txn.None
	case cause > hwm:
		return Conflict, cause
	case hwm < t.floor:
		return Stale, t.floor
	}
	return OK, txn.None
}

// last returns the last transaction remembered to have taken a lock, or None.
func (t *Table) last(hash txn.LockHash) txn.ID {
	s := t.find(hash)
	if s < 0 {
		return txn.None
	}
	return t.ring[t.index.At(s)].id
}

func (t *Table) find(hash txn.LockHash) int {
	return t.index.Find(probe.Tag(uint64(hash)), func(pos uint32) bool { return t.ring[pos].hash == hash })
}

// Take marks the locks of a transaction that was given an ID, which must be
// above all earlier ones.
func (t *Table) Take(locks []txn.Lock, id txn.ID) {
	for _, l := range locks {
		if mutant.On("append-mode-does-not-mark") && l.Mode == txn.LockAppend {
			continue
		}
		if l.Mode.Marks() {
			t.Mark(l.Hash, id)
		}
	}
}

// Mark records that transaction id took a lock for write or append. IDs never
// decrease.
func (t *Table) Mark(hash txn.LockHash, id txn.ID) {
	t.evict(id - txn.ID(t.transactionsMax))
	pos := t.push(mark{hash, id})
	if s := t.find(hash); s >= 0 {
		t.index.Set(s, pos)
		return
	}
	t.index.Insert(probe.Tag(uint64(hash)), pos)
}

// evict forgets the marks up to transaction old, and the oldest if the table is
// full of marks.
func (t *Table) evict(old txn.ID) {
	for t.head != t.tail && (t.Marks() >= t.marksMax || t.oldest().id <= old) {
		m := *t.oldest()
		pos := uint32(t.head & uint64(len(t.ring)-1))
		if s := t.find(m.hash); t.index.At(s) == pos { // else it was taken again since
			t.index.Remove(s)
		}
		t.floor = m.id
		t.head++
	}
}

func (t *Table) oldest() *mark { return &t.ring[t.head&uint64(len(t.ring)-1)] }

func (t *Table) push(m mark) uint32 {
	if t.Marks() == len(t.ring) {
		t.grow()
	}
	pos := t.tail & uint64(len(t.ring)-1)
	t.ring[pos] = m
	t.tail++
	return uint32(pos)
}

// grow doubles the ring. Positions change, so the index is made anew.
func (t *Table) grow() {
	old := t.ring
	t.ring = make([]mark, max(64, 2*len(old)))
	n := copy(t.ring, old[t.head&uint64(max(len(old), 1)-1):])
	copy(t.ring[n:], old)
	t.tail, t.head = uint64(len(old)), 0
	t.index = probe.Index{}
	for pos := range old {
		hash := t.ring[pos].hash
		if s := t.find(hash); s >= 0 {
			t.index.Set(s, uint32(pos))
			continue
		}
		t.index.Insert(probe.Tag(uint64(hash)), uint32(pos))
	}
}
