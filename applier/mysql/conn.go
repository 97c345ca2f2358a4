package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	mysql "github.com/go-sql-driver/mysql"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/mutant"
)

// conn is one connection while somebody has it. It goes back to its pool with
// no SQL transaction open, or not at all.
type conn struct {
	*sql.Conn
	ctx       context.Context // whoever has it; when it ends the connection is cut
	endless   context.Context // the same without an end: for the driver
	stop      func() bool     // keeps the connection from being cut
	open      bool            // an SQL transaction may be open
	savepoint bool            // one was set in it, and not released
}

func connect(ctx context.Context, pool *sql.DB) (*conn, error) {
	c, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	stop, err := cutAfter(ctx, c)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &conn{Conn: c, ctx: ctx, endless: context.WithoutCancel(ctx), stop: stop}, nil
}

// without gives the context to use for a statement: one that is not the connection's own
// has to be watched by the driver.
func (c *conn) without(ctx context.Context) context.Context {
	if ctx == c.ctx {
		return c.endless
	}
	return ctx
}

// cause names the end of the context that cut the connection.
func (c *conn) cause(err error) error {
	if e := c.ctx.Err(); e != nil && err != nil {
		return fmt.Errorf("%w: %w", e, err)
	}
	return err
}

// exec runs a statement and returns how many rows it found.
func (c *conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	r, err := c.ExecContext(c.without(ctx), query, args...)
	if err != nil {
		return 0, c.cause(err)
	}
	return r.RowsAffected()
}

// one runs a query for its first row.
func (c *conn) one(ctx context.Context, query string, args []any, dest ...any) error {
	return c.cause(c.QueryRowContext(c.without(ctx), query, args...).Scan(dest...))
}

func (c *conn) begin(ctx context.Context, query string) error {
	c.open = true
	_, err := c.exec(ctx, query)
	return err
}

// How an SQL transaction ends, in full: completion_type could make a bare COMMIT
// begin another one.
const (
	commit   = "COMMIT AND NO CHAIN NO RELEASE"
	rollBack = "ROLLBACK AND NO CHAIN NO RELEASE"
)

// commit sends COMMIT. Only an answer tells what became of it.
func (c *conn) commit(ctx context.Context) error {
	if _, err := c.exec(ctx, commit); err != nil {
		return &commitError{err}
	}
	c.open = false
	return nil
}

// rollBackMax bounds a ROLLBACK. A server that takes longer will find out by
// itself that its client is gone.
const rollBackMax = 5 * time.Second

// The savepoint stands behind the compare-and-set. It is gone if anything has ended
// the SQL transaction since.
const (
	setSavepoint  = "SAVEPOINT waltz_step"
	freeSavepoint = "RELEASE SAVEPOINT waltz_step"
	noSavepoint   = 1305
)

func (c *conn) mark(ctx context.Context) error {
	_, err := c.exec(ctx, setSavepoint)
	c.savepoint = err == nil
	return err
}

// stillOpen proves that the SQL transaction is the one that was begun.
func (c *conn) stillOpen(ctx context.Context) error {
	c.savepoint = false
	_, err := c.exec(ctx, freeSavepoint)
	if e, is := errors.AsType[*mysql.MySQLError](err); is && e.Number == noSavepoint {
		return fmt.Errorf("%w: %w", applier.ErrImplicitCommit, err)
	}
	return err
}

// afterError finds out whether what there is to be rolled back is still there. DDL
// commits even when it is denied; an error that comes later would hide that. After a
// deadlock and the like it is gone with good reason.
func (c *conn) afterError(ctx context.Context, err error) error {
	e, is := errors.AsType[*mysql.MySQLError](err)
	if !c.savepoint || is && numbers[e.Number].class == applier.ClassRetry || mutant.On("mysql-savepoint-not-checked-after-error") {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollBackMax)
	defer cancel()
	if gone := c.stillOpen(ctx); errors.Is(gone, applier.ErrImplicitCommit) {
		return fmt.Errorf("%w; then: %s", gone, err.Error()) // whatever class err has
	}
	return err
}

// release gives the connection back. What is open is rolled back by a ROLLBACK of our
// own, whatever the server has undone by itself (1213 all, 1205 one statement):
// else the next START TRANSACTION on it would commit what is left, which is the mark.
// Where even that fails the connection is closed, and the server rolls back.
func (c *conn) release(ctx context.Context) {
	defer func() { _ = c.Close() }() // it has nothing to say but that it is closed
	if !c.stop() {
		c.discard()
		return
	}
	if c.open && !mutant.On("mysql-rollback-skipped") {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollBackMax)
		defer cancel()
		if _, err := c.exec(ctx, rollBack); err != nil {
			c.discard()
		}
	}
}

// discard tells the pool to close the connection.
func (c *conn) discard() { _ = c.Raw(func(any) error { return driver.ErrBadConn }) }
