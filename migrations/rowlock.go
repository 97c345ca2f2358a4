package migrations

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// How long the lock is waited for, and how often it is tried.
const (
	lockRetry   = 200 * time.Millisecond
	lockTimeout = 5 * time.Minute
)

// rowLease is how long a lock that nobody releases keeps others out. The
// framework's migrations take milliseconds.
const rowLease = 30 * time.Second

// rowLock is goose's table lock for SQLite, which goose does not have. One
// statement takes it: SQLite has one writer.
type rowLock struct{ owner string }

func newRowLock() *rowLock { return &rowLock{rand.Text()} }

const (
	createLock = `CREATE TABLE IF NOT EXISTS ` + LockTable + ` (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL) STRICT`
	takeLock   = `INSERT INTO ` + LockTable + ` VALUES (1, ?, ?) ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, until = excluded.until WHERE until < ?`
	freeLock   = `DELETE FROM ` + LockTable + ` WHERE owner = ?`
)

// Lock tries until it has the lock. Errors are tried again, too: a pool without
// a busy timeout gives up at once when another instance writes.
func (l *rowLock) Lock(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	var last error
	for {
		got, err := l.try(ctx, db)
		if got {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(lockRetry / 4):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last)
		}
	}
}

func (l *rowLock) try(ctx context.Context, db *sql.DB) (bool, error) {
	if _, err := db.ExecContext(ctx, createLock); err != nil {
		return false, fmt.Errorf("create %s: %w", LockTable, err)
	}
	now := time.Now()
	r, err := db.ExecContext(ctx, takeLock, l.owner, now.Add(rowLease).UnixMilli(), now.UnixMilli())
	if err != nil {
		return false, fmt.Errorf("take %s: %w", LockTable, err)
	}
	n, err := r.RowsAffected()
	return n == 1, err
}

// Unlock releases the lock, if it is still this one's.
func (l *rowLock) Unlock(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, freeLock, l.owner)
	return err
}
