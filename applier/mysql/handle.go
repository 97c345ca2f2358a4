package mysql

import (
	"context"
	"errors"

	mysql "github.com/go-sql-driver/mysql"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/internal/guard"
	"github.com/waltz-log/waltz/internal/mutant"
)

// Tx is what handlers write with: one SQL transaction that the framework begins
// and ends. It is for the handler's goroutine, and refuses everything after the
// first error, after the handler has returned, and what is not one SELECT, INSERT,
// UPDATE, DELETE, REPLACE, WITH or VALUES. For many rows use [Insert], [Upsert],
// [Update] and [Delete].
type Tx struct{ handle }

// Snapshot is what a view is read with: one consistent, read-only state, until the
// function that got it returns. It is for one goroutine.
type Snapshot struct{ handle }

// handle is a guarded connection.
type handle struct {
	g guard.Guard
	c *conn
	facts
	rows    *Rows // not closed yet; nil: none
	reached func(applier.Stage)
}

// Exec runs a statement and returns how many rows it found, also if they held the
// new values already. Of an INSERT ... ON DUPLICATE KEY UPDATE it is 1 for each row that
// was inserted and 2 for each that changed.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := t.ready(ctx); err != nil {
		return 0, err
	}
	if err := guard.Statement(query); err != nil {
		return 0, t.g.Fail(err)
	}
	return t.exec(ctx, query, args)
}

// Query runs a query, which sees what the transaction has written.
func (t *Tx) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	return t.query(ctx, query, args)
}

// QueryRow runs a query for one row; its error comes with Scan. sql.ErrNoRows is
// an answer, not an error: the transaction goes on.
func (t *Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	rows, err := t.query(ctx, query, args)
	return Row{rows, err}
}

// Query runs a query.
func (s *Snapshot) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	return s.query(ctx, query, args)
}

// QueryRow runs a query for one row; its error comes with Scan.
func (s *Snapshot) QueryRow(ctx context.Context, query string, args ...any) Row {
	rows, err := s.query(ctx, query, args)
	return Row{rows, err}
}

// exec runs a text that is known to be one statement.
func (h *handle) exec(ctx context.Context, query string, args []any) (int64, error) {
	if err := h.ready(ctx); err != nil {
		return 0, err
	}
	n, err := h.c.exec(ctx, query, args...)
	if err != nil {
		return 0, h.fail(err)
	}
	if h.reached != nil {
		h.reached(applier.StageStatement)
	}
	return n, nil
}

func (h *handle) query(ctx context.Context, query string, args []any) (*Rows, error) {
	if err := h.ready(ctx); err != nil {
		return nil, err
	}
	if err := guard.Statement(query); err != nil {
		return nil, h.g.Fail(err)
	}
	rows, err := h.c.QueryContext(h.c.without(ctx), query, args...) //nolint:rowserrcheck // Rows.Next does
	if err != nil {
		return nil, h.fail(h.c.cause(err))
	}
	h.rows = &Rows{h: h, rows: rows}
	return h.rows, nil
}

// errRowsOpen is about a connection, which sends one answer after the other.
var errRowsOpen = &guard.EscapeError{What: "runs a statement while it has not read the rows of its last query to their end: close them first"}

func (h *handle) ready(ctx context.Context) error {
	if err := h.g.Open(); err != nil {
		return err
	}
	if h.rows != nil {
		return h.g.Fail(errRowsOpen)
	}
	if err := ctx.Err(); err != nil {
		return h.g.Fail(err)
	}
	return nil
}

// fail remembers the first error: InnoDB would go on after each of these.
func (h *handle) fail(err error) error {
	e, is := errors.AsType[*mysql.MySQLError](err)
	switch {
	case is && e.Number == 1062 && mutant.On("mysql-duplicate-key-swallowed"):
		return err
	case is && e.Number == 1205 && mutant.On("mysql-lock-timeout-swallowed"):
		return err
	case is && e.Number == 1213 && mutant.On("mysql-deadlock-swallowed"):
		return err
	}
	return h.g.Fail(err)
}

// end ends the handle, and returns the error that counts.
func (h *handle) end(returned error) error {
	if h.rows != nil {
		_ = h.rows.Close() // an error of it is remembered
	}
	return h.g.End(returned)
}
