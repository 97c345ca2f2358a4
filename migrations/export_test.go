package migrations

import "time"

// SetLease shortens the lease of the lock, for tests that kill who has it.
func (m *Migrator) SetLease(d time.Duration) { m.lease = d }

// Lock is the lock alone.
type Lock = rowLock

// NewLock makes the lock of a migrator.
func NewLock(m *Migrator) *Lock { return newRowLock(m.db, m.dialect, m.lease) }

// While exports while.
var While = (*rowLock).while

// ErrLockLost exports errLockLost.
var ErrLockLost = errLockLost
