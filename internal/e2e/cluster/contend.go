package cluster

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz"
)

// contention is what a load with locks was told, and what it asked for: of every
// transaction the locks and the high-water mark, whether it was answered or not.
type contention struct {
	locks   uint64 // so many there are; 0: transactions take none
	asked   map[string]asked
	refused []refusal
}

// asked is what a transaction was appended with.
type asked struct {
	high  txn.ID
	locks []waltz.Lock
}

// refusal is a lock conflict that a client was told.
type refusal struct {
	p    txn.Partition
	by   txn.ID
	data string
}

// draw makes the next transaction of a worker, computed from what the partition's
// subscriber has got.
func (m *Model) draw(r *rand.Rand, p txn.Partition, data string) waltz.Transaction {
	t := waltz.Transaction{Data: []byte(data), HighWaterMark: waltz.None}
	if m.contention.locks == 0 || r.IntN(2) == 0 {
		return t
	}
	modes := []waltz.LockMode{waltz.LockRead, waltz.LockWrite, waltz.LockAppend}
	first := r.Uint64N(m.contention.locks)
	for i := range 1 + r.Uint64N(2) {
		t.Locks = append(t.Locks, waltz.Lock{LockID: lockName.ID((first + i) % m.contention.locks), Mode: modes[r.IntN(len(modes))]})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t.HighWaterMark = txn.ID(len(m.fed[p]) - 1)
	m.contention.asked[data] = asked{t.HighWaterMark, t.Locks}
	return t
}

const lockName waltz.LockName = "account"

// conflicted notes a refusal, and reports false if the error is another.
func (m *Model) conflicted(p txn.Partition, t *waltz.Transaction, err error) bool {
	conflict, refused := errors.AsType[*waltz.LockConflictError](err)
	stale, late := errors.AsType[*waltz.StaleError](err)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case refused:
		m.contention.refused = append(m.contention.refused, refusal{p, conflict.TransactionID, string(t.Data)})
	case late && stale.Floor <= t.HighWaterMark:
		m.errs = append(m.errs, fmt.Errorf("a view of partition %d at %d was called stale below %d (I8)", p, t.HighWaterMark, stale.Floor))
	}
	return refused || late
}

// judgeLocks replays a partition's log: nothing may be in it that lost against a
// transaction that it had not seen (I5); and who was refused had lost against the one
// that it was told, and is not in the log (I4, I8).
func (m *Model) judgeLocks(p txn.Partition, log map[txn.ID]string) (err error) {
	taken := map[waltz.LockID]txn.ID{} // for write or append, last
	in := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(log)) {
		in[log[id]] = true
		a := m.contention.asked[log[id]]
		for _, l := range a.locks {
			if by, is := taken[l.LockID]; is && l.Mode != waltz.LockAppend && by > a.high {
				err = errors.Join(err, fmt.Errorf("partition %d: transaction %d was computed from %d, and %d took its lock %v (I5)", p, id, a.high, by, l.LockID))
			}
		}
		for _, l := range a.locks {
			if l.Mode != waltz.LockRead {
				taken[l.LockID] = id
			}
		}
	}
	for _, r := range m.contention.refused {
		if a := m.contention.asked[r.data]; r.p == p && (in[r.data] || !m.lost(a, r, log)) {
			err = errors.Join(err, fmt.Errorf("partition %d: %.40q, computed from %d, was refused for %d, and is in the log: %t (I8)", p, r.data, a.high, r.by, in[r.data]))
		}
	}
	return err
}

// lost reports whether a transaction has a conflict with the one that refused it.
func (m *Model) lost(a asked, r refusal, log map[txn.ID]string) bool {
	for _, mine := range a.locks {
		for _, other := range m.contention.asked[log[r.by]].locks {
			if mine.LockID == other.LockID && mine.Mode != waltz.LockAppend && other.Mode != waltz.LockRead {
				return r.by > a.high
			}
		}
	}
	return false
}
