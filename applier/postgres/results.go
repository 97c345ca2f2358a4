package postgres

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// rows are a query's, and tell the handle about an error. They don't give away the
// connection.
type rows struct {
	pgx.Rows
	h *handle
}

// Conn returns nil: the connection is the framework's.
func (r *rows) Conn() *pgx.Conn { return nil }

// Next moves to the next row, and reports whether there is one.
func (r *rows) Next() bool {
	next := r.Rows.Next()
	if !next {
		r.note()
	}
	return next
}

// Err returns what ended Next before the last row, if anything did: trouble of the
// connection as such, so that it can be classified.
func (r *rows) Err() error {
	if err := r.Rows.Err(); err != nil {
		return r.h.s.trouble(err)
	}
	return nil
}

// Scan copies the columns of the row.
func (r *rows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	r.note()
	return err
}

// Close ends the rows early. Calling it again is harmless.
func (r *rows) Close() {
	r.Rows.Close()
	r.note()
}

func (r *rows) note() {
	if err := r.Err(); err != nil {
		_ = r.h.g.Fail(err)
	}
}

// row is the result of a query for one row.
type row struct {
	rows *rows
	err  error
}

// Scan copies the columns of the first row, and ends the query.
func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// results are a batch's, and tell the handle about an error.
type results struct {
	pgx.BatchResults
	h *handle
}

func (r *results) note(err error) error {
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		return err
	}
	return r.h.g.Fail(r.h.s.trouble(err))
}

// Exec reads the next result as that of a statement.
func (r *results) Exec() (pgconn.CommandTag, error) {
	tag, err := r.BatchResults.Exec()
	return tag, r.note(err)
}

// Query reads the next result as that of a query.
func (r *results) Query() (pgx.Rows, error) {
	q, err := r.BatchResults.Query()
	return &rows{q, r.h}, r.note(err)
}

// QueryRow reads the next result as that of a query for one row.
func (r *results) QueryRow() pgx.Row {
	q, err := r.BatchResults.Query()
	return row{&rows{q, r.h}, r.note(err)}
}

// Close ends the batch. The error is the first that nobody has read.
func (r *results) Close() error { return r.note(r.BatchResults.Close()) }

// refused is the result of a batch that was not sent.
type refused struct{ err error }

func (r refused) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, r.err }
func (r refused) Query() (pgx.Rows, error)         { return nil, r.err }
func (r refused) QueryRow() pgx.Row                { return row{err: r.err} }
func (r refused) Close() error                     { return r.err }
