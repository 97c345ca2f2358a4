package migrations

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	// lockLease is how long an instance that died keeps the others waiting. One that
	// lives extends it, so that a long migration is not disturbed.
	lockLease = 10 * time.Second
	// lockTimeout is how long the lock is waited for.
	lockTimeout = 5 * time.Minute
	// lockRetry is how often it is tried.
	lockRetry = 50 * time.Millisecond
	// unlockTimeout bounds what is done after the caller's context has ended.
	unlockTimeout = 5 * time.Second
)

// errLockLost ends a run: its instance stood still for longer than the lease, and
// another one has the lock.
var errLockLost = errors.New("another instance has taken " + LockTable + ": this one was slower than its lease")

// rowLock is a row with a lease. goose's own table locks are not used: the one
// for MySQL compares times of the session's zone, so that of two pools with
// different time_zone one takes the lock of the other; both try for minutes
// what the user is not allowed to do; both let a run go on whose lease another
// instance has taken; and there is none for SQLite.
type rowLock struct {
	db    *sql.DB
	sql   lockSQL
	owner string
	lease time.Duration
	ready bool // table and row are there
}

func newRowLock(db *sql.DB, d Dialect, lease time.Duration) *rowLock {
	host, _ := os.Hostname() // a name for people
	return &rowLock{db: db, sql: locks[d], owner: fmt.Sprintf("%.100s/%d/%s", host, os.Getpid(), rand.Text()), lease: lease}
}

// while runs do while it has the lock. do's context ends when the lock is lost.
func (l *rowLock) while(ctx context.Context, do func(context.Context) error) error {
	if err := l.lock(ctx); err != nil {
		return fmt.Errorf("migrations: wait for %s: %w", LockTable, err)
	}
	held, cancel := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { l.keep(held, cancel) })
	err := do(held)
	if errors.Is(context.Cause(held), errLockLost) {
		err = errors.Join(err, errLockLost)
	}
	cancel(nil)
	keeper.Wait()
	if unlock := l.unlock(ctx); unlock != nil {
		err = errors.Join(err, fmt.Errorf("migrations: release %s: %w", LockTable, unlock))
	}
	return err
}

// lock tries until it has the lock.
func (l *rowLock) lock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	var failing time.Time // since when there are errors only
	var last error
	for {
		got, err := l.try(ctx)
		switch {
		case got:
			return nil
		case err == nil:
			failing = time.Time{}
			last = nil
		case ctx.Err() != nil:
		case failing.IsZero():
			failing, last = time.Now(), err
		case time.Since(failing) > l.sql.patience:
			return err
		default:
			last = err
		}
		select {
		case <-time.After(lockRetry):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), last, l.held(ctx))
		}
	}
}

// try takes the lock, if it is free.
func (l *rowLock) try(ctx context.Context) (bool, error) {
	if !l.ready {
		for _, statement := range []string{l.sql.create, l.sql.seed} {
			if _, err := l.db.ExecContext(ctx, statement); err != nil {
				return false, fmt.Errorf("create: %w", err)
			}
		}
		l.ready = true
	}
	return l.swap(ctx, l.sql.take, l.owner, l.lease.Microseconds(), l.owner)
}

// swap reports whether a compare-and-set found what it looked for.
func (l *rowLock) swap(ctx context.Context, statement string, args ...any) (bool, error) {
	r, err := l.db.ExecContext(ctx, statement, args...)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n == 1, err
}

// held says who has the lock, if anybody can tell.
func (l *rowLock) held(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	var owner string
	if err := l.db.QueryRowContext(ctx, l.sql.holder).Scan(&owner); err != nil || owner == "" {
		return nil
	}
	return fmt.Errorf("held by %s", owner)
}

// keep extends the lease until the context ends. An error is not the end of it: the
// migration may keep the only connection, or the file. Only another owner is.
func (l *rowLock) keep(ctx context.Context, lost context.CancelCauseFunc) {
	ticks := time.NewTicker(l.lease / 4)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		if mine, err := l.swap(ctx, l.sql.renew, l.lease.Microseconds(), l.owner); err == nil && !mine {
			lost(errLockLost)
			return
		}
	}
}

// unlock frees the lock, if it is still this one's.
func (l *rowLock) unlock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
	defer cancel()
	_, err := l.swap(ctx, l.sql.free, l.owner)
	return err
}
