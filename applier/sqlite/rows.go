package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"slices"
)

// Rows is the result of a query, to be read as one of database/sql. It is for one
// goroutine, and ends with the handle that it came from.
type Rows struct {
	ctx       context.Context
	s         *session
	st        *statement
	temporary bool
	fail      func(error) error // tells the handle; nil: nobody
	rows      driver.Rows
	values    []driver.Value
	err       error
	closed    bool
}

// Next moves to the next row, and reports whether there is one. After the last
// one the rows are closed.
func (r *Rows) Next() bool {
	if r.closed {
		return false
	}
	err := r.ctx.Err()
	if err == nil {
		err = r.rows.Next(r.values)
	}
	if err == nil {
		return true
	}
	if !errors.Is(err, io.EOF) {
		r.failed(err)
	}
	if err := r.Close(); err != nil {
		r.failed(err)
	}
	return false
}

func (r *Rows) failed(err error) {
	if r.fail != nil {
		err = r.fail(err)
	}
	if r.err == nil {
		r.err = err
	}
}

// Scan copies the columns of the row to the pointers in dest: of the integer,
// floating-point, string, []byte, bool and time.Time types, named or not, *any,
// pointers to such pointers for what may be NULL, and sql.Scanner.
func (r *Rows) Scan(dest ...any) error {
	if r.closed {
		return errors.New("scan: the rows are closed")
	}
	return scan(dest, r.values, r.rows.Columns())
}

// Columns returns the names of the columns.
func (r *Rows) Columns() []string { return r.rows.Columns() }

// Err returns what ended Next before the last row, if anything did.
func (r *Rows) Err() error { return r.err }

// Close ends the rows early. Calling it again is harmless.
func (r *Rows) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	r.st.busy = false
	if i := slices.Index(r.s.open, r); i >= 0 {
		r.s.open = slices.Delete(r.s.open, i, i+1)
	}
	err := r.rows.Close()
	if r.temporary {
		err = errors.Join(err, r.st.Close())
	}
	return err
}

// one scans the first row and closes.
func (r *Rows) one(dest []any) error {
	if !r.Next() {
		if r.err != nil {
			return r.err
		}
		return sql.ErrNoRows
	}
	return errors.Join(r.Scan(dest...), r.Close())
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
	return r.rows.one(dest)
}
