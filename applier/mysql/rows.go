package mysql

import (
	"database/sql"
	"errors"
)

// Rows is the result of a query, to be read as one of database/sql. It is for one
// goroutine, and ends with the handle that it came from. Until it is closed or
// read to its end, the handle runs nothing else.
type Rows struct {
	h    *handle
	rows *sql.Rows
	err  error
}

// Next moves to the next row, and reports whether there is one. After the last
// one the rows are closed.
func (r *Rows) Next() bool {
	if r.rows.Next() {
		return true
	}
	r.failed(r.h.c.cause(r.rows.Err()))
	r.ended()
	return false
}

// failed tells the handle, too: an error in the middle of rows counts.
func (r *Rows) failed(err error) {
	if err != nil && r.err == nil {
		r.err = r.h.g.Fail(err)
	}
}

func (r *Rows) ended() {
	if r.h.rows == r {
		r.h.rows = nil
	}
}

// Scan copies the columns of the row to the pointers in dest, as database/sql does.
func (r *Rows) Scan(dest ...any) error { return r.rows.Scan(dest...) }

// Columns returns the names of the columns; nil once the rows are closed.
func (r *Rows) Columns() []string {
	names, err := r.rows.Columns()
	if err != nil {
		return nil // they are closed
	}
	return names
}

// Err returns what ended Next before the last row, if anything did.
func (r *Rows) Err() error { return r.err }

// Close ends the rows early. Calling it again is harmless.
func (r *Rows) Close() error {
	err := r.rows.Close()
	r.failed(err)
	r.ended()
	return err
}

// Row is the result of a query for one row.
type Row struct {
	rows *Rows
	err  error
}

// Scan copies the columns of the first row, and ends the query. Without a row
// it returns sql.ErrNoRows.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return sql.ErrNoRows
	}
	return errors.Join(r.rows.Scan(dest...), r.rows.Close())
}
