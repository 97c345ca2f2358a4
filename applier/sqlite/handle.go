package sqlite

import (
	"context"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/internal/guard"
)

// Tx is what handlers write with: one SQL transaction that the framework begins
// and ends. Statements are prepared once and kept, so pass values as arguments. It is
// for the handler's goroutine, and refuses everything after the first error, after
// the handler has returned, and what is not one SELECT, INSERT, UPDATE, DELETE,
// REPLACE, WITH or VALUES.
type Tx struct{ h *handle }

// Snapshot is what a view is read with: one consistent, read-only state, until the
// function that got it returns. It is for one goroutine.
type Snapshot struct{ h *handle }

// handle is a guarded session.
type handle struct {
	g       guard.Guard
	s       *session
	reached func(applier.Stage)
}

// Exec runs a statement and returns how many rows it changed.
func (t Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	return t.h.exec(ctx, query, args)
}

// Query runs a query, which sees what the transaction has written.
func (t Tx) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	return t.h.query(ctx, query, args)
}

// QueryRow runs a query for one row; its error comes with Scan. sql.ErrNoRows is
// an answer, not an error: the transaction goes on.
func (t Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	rows, err := t.h.query(ctx, query, args)
	return Row{rows, err}
}

// Query runs a query.
func (s Snapshot) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	return s.h.query(ctx, query, args)
}

// QueryRow runs a query for one row; its error comes with Scan.
func (s Snapshot) QueryRow(ctx context.Context, query string, args ...any) Row {
	rows, err := s.h.query(ctx, query, args)
	return Row{rows, err}
}

func (h *handle) exec(ctx context.Context, query string, args []any) (int64, error) {
	if err := h.ready(ctx); err != nil {
		return 0, err
	}
	n, err := h.s.exec(query, guard.Statement, args)
	if err != nil {
		return 0, h.g.Fail(err)
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
	rows, err := h.s.rows(ctx, query, guard.Statement, args)
	if err != nil {
		return nil, h.g.Fail(err)
	}
	rows.fail = h.g.Fail
	return rows, nil
}

func (h *handle) ready(ctx context.Context) error {
	if err := h.g.Open(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return h.g.Fail(err)
	}
	return nil
}

// end ends the handle, and returns the error that counts.
func (h *handle) end(returned error) error {
	err := h.g.End(returned)
	if rows := h.s.closeRows(); err == nil {
		err = rows
	}
	return err
}
