package waltz

import (
	"fmt"

	"github.com/waltz-log/waltz/internal/txn"
)

// Read, Write and Append take a lock ID in a mode.
func (id LockID) Read() Lock { return Lock{LockID: id, Mode: LockRead} }

// Write takes the lock ID for write.
func (id LockID) Write() Lock { return Lock{LockID: id, Mode: LockWrite} }

// Append takes the lock ID for append.
func (id LockID) Append() Lock { return Lock{LockID: id, Mode: LockAppend} }

// hashLocks appends the locks as they travel.
func hashLocks(dst []txn.Lock, locks []Lock) ([]txn.Lock, error) {
	for _, l := range locks {
		if l.Mode < LockRead || l.Mode > LockAppend {
			return nil, fmt.Errorf("%w: lock %s/%d has no mode", ErrInvalid, l.Name, l.ID)
		}
		dst = append(dst, txn.Lock{Hash: txn.HashLock(string(l.Name), l.ID), Mode: l.Mode})
	}
	return dst, nil
}
