package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/internal/guard"
)

// Tx is what handlers write with: one SQL transaction that the framework begins
// and ends. It takes what pgx takes (types, [pgx.NamedArgs], query options), and
// prepares each text once. It is for the handler's goroutine, and refuses everything
// after the first error, after the handler has returned, and what is not one
// SELECT, INSERT, UPDATE, DELETE, MERGE, WITH or VALUES.
type Tx struct{ h *handle }

// Snapshot is what a view is read with: one consistent, read-only state, until the
// function that got it returns. It is for one goroutine.
type Snapshot struct {
	h    *handle
	done *lookup // the key that was looked up on the way; nil: none
}

// handle is a guarded session.
type handle struct {
	g       guard.Guard
	s       *session
	leave   func() // closes what the last query or batch may have left open; nil: none
	reached func(applier.Stage)
}

// Queue sends a statement without waiting for its answer. Statements take effect in
// the order of the calls, with those of Exec and Query between them. An error
// comes with a later call, or after the handler has returned, and always before
// the SQL transaction is committed. Arguments may be used again after the call.
func (t *Tx) Queue(ctx context.Context, query string, args ...any) error {
	return t.h.queue(ctx, query, args)
}

// Exec runs a statement, and returns what the server says about it.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	if err := t.h.queue(ctx, query, args); err != nil {
		return pgconn.CommandTag{}, err
	}
	if err := t.h.s.sync(); err != nil {
		return pgconn.CommandTag{}, t.h.g.Fail(err)
	}
	return t.h.s.tag, nil
}

// Query runs a query, which sees what the transaction has written. Its rows must
// be closed before the handle is used again.
func (t *Tx) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return t.h.query(ctx, query, args)
}

// QueryRow runs a query for one row; its error comes with Scan. pgx.ErrNoRows is
// an answer, not an error: the transaction goes on.
func (t *Tx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return t.h.queryRow(ctx, query, args)
}

// SendBatch sends statements together, and returns their results. These must be
// closed before the handle is used again.
func (t *Tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return t.h.sendBatch(ctx, b)
}

// CopyFrom inserts rows with COPY, for thousands of them at once. It costs two
// round trips.
func (t *Tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, from pgx.CopyFromSource) (int64, error) {
	h := t.h
	if err := h.idle(ctx); err != nil {
		return 0, err
	}
	n, err := h.s.conn.CopyFrom(ctx, table, columns, from)
	if err != nil {
		return 0, h.g.Fail(h.s.trouble(err))
	}
	h.told()
	return n, nil
}

// Query runs a query. Its rows must be closed before the handle is used again.
func (s *Snapshot) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return s.h.query(ctx, query, args)
}

// QueryRow runs a query for one row; its error comes with Scan.
func (s *Snapshot) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return s.h.queryRow(ctx, query, args)
}

// SendBatch sends queries together, and returns their results. These must be
// closed before the handle is used again.
func (s *Snapshot) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return s.h.sendBatch(ctx, b)
}

// usable refuses what the guard refuses, and the end of the context.
func (h *handle) usable(ctx context.Context) error {
	if err := h.g.Open(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return h.g.Fail(err)
	}
	return nil
}

// idle makes the connection ready for something else than the pipeline.
func (h *handle) idle(ctx context.Context) error {
	if err := h.usable(ctx); err != nil {
		return err
	}
	if err := h.s.sync(); err != nil {
		return h.g.Fail(err)
	}
	return nil
}

// text refuses what is not a statement for handlers. One that is prepared has been
// looked at.
func (h *handle) text(query string) error {
	if h.s.ready[query] != nil {
		return nil
	}
	return guard.Statement(query)
}

func (h *handle) queue(ctx context.Context, query string, args []any) error {
	if err := h.usable(ctx); err != nil {
		return err
	}
	query, args, err := plain(ctx, query, args)
	if err == nil {
		err = h.text(query)
	}
	if err == nil {
		err = h.s.send(ctx, sent{}, query, args)
	}
	if err == nil && h.reached != nil {
		err = h.s.advance()
	}
	if err != nil {
		return h.g.Fail(err)
	}
	h.told()
	return nil
}

func (h *handle) told() {
	if h.reached != nil {
		h.reached(applier.StageStatement)
	}
}

func (h *handle) query(ctx context.Context, query string, args []any) (*rows, error) {
	if err := h.idle(ctx); err != nil {
		return nil, err
	}
	query, args, err := plain(ctx, query, args)
	if err == nil {
		err = guard.Statement(query)
	}
	if err != nil {
		return nil, h.g.Fail(err)
	}
	r, err := h.s.conn.Query(ctx, query, append([]any{h.s.d.mode}, args...)...)
	if err != nil {
		return nil, h.g.Fail(h.s.trouble(err))
	}
	out := &rows{Rows: r, h: h}
	h.leave = out.Close
	return out, nil
}

func (h *handle) queryRow(ctx context.Context, query string, args []any) pgx.Row {
	r, err := h.query(ctx, query, args)
	return row{r, err}
}

func (h *handle) sendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if err := h.idle(ctx); err != nil {
		return refused{err}
	}
	for _, q := range b.QueuedQueries {
		query, args, err := plain(ctx, q.SQL, q.Arguments)
		if err == nil {
			err = guard.Statement(query)
		}
		if err != nil {
			return refused{h.g.Fail(err)}
		}
		q.SQL, q.Arguments = query, args
	}
	out := &results{h.s.conn.SendBatch(ctx, b), h}
	h.leave = func() { _ = out.Close() } // the guard has its error
	return out
}

// end ends the handle, and returns the error that counts.
func (h *handle) end(returned error) error {
	if h.leave != nil {
		h.leave()
	}
	return h.g.End(returned)
}

// plain takes the options of pgx out of the arguments: a rewriter must not see the
// connection, and only the simple protocol would run two statements of one
// text.
func plain(ctx context.Context, query string, args []any) (string, []any, error) {
	for len(args) > 0 {
		switch option := args[0].(type) {
		case pgx.QueryExecMode, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			args = args[1:]
		case pgx.QueryRewriter:
			var err error
			if query, args, err = option.RewriteQuery(ctx, nil, query, args[1:]); err != nil {
				return "", nil, errors.Join(errors.New("rewrite query"), err)
			}
			return query, args, nil
		default:
			return query, args, nil
		}
	}
	return query, args, nil
}
