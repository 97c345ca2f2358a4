package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// statementsMax bounds the prepared statements of a connection.
const statementsMax = 256

// session is one connection with its prepared statements, for one goroutine at a
// time.
//
// The driver gets a context that never ends: with another one it starts a
// goroutine for each statement, which costs more than a small statement does.
// Whoever uses a session looks at its own context between statements and rows.
type session struct {
	conn     driver.Conn
	prepared map[string]*statement
	args     []driver.NamedValue // of the statement that is being run
	open     []*Rows             // not closed yet
}

type statement struct {
	driver.Stmt
	exec    driver.StmtExecContext
	query   driver.StmtQueryContext
	busy    bool // rows of it are open: they would be reset
	checked bool // handlers may run it
}

func openSession(path string) (*session, error) {
	c, err := newConnector(path)
	if err != nil {
		return nil, err
	}
	conn, err := c.Connect(context.Background())
	if err != nil {
		return nil, err
	}
	return &session{conn: conn, prepared: make(map[string]*statement)}, nil
}

// prepare finds a statement that can be run now. check is asked about a text
// once; those of the framework itself are not for handlers.
func (s *session) prepare(query string, check func(string) error) (st *statement, cached bool, err error) {
	st = s.prepared[query]
	if check != nil && (st == nil || !st.checked) {
		if err := check(query); err != nil {
			return nil, false, err
		}
	}
	if st != nil && !st.busy {
		st.checked = st.checked || check != nil
		return st, true, nil
	}
	stmt, err := s.conn.Prepare(query)
	if err != nil {
		return nil, false, err
	}
	fresh := &statement{Stmt: stmt, exec: stmt.(driver.StmtExecContext), query: stmt.(driver.StmtQueryContext), checked: check != nil}
	if st != nil {
		return fresh, false, nil
	}
	if err := s.evict(); err != nil {
		return nil, false, errors.Join(err, stmt.Close())
	}
	s.prepared[query] = fresh
	return fresh, true, nil
}

// evict makes room for one more statement: any, since whoever has more texts
// than fit makes them up as it goes.
func (s *session) evict() error {
	if len(s.prepared) < statementsMax {
		return nil
	}
	for query, st := range s.prepared {
		if !st.busy {
			delete(s.prepared, query)
			return st.Close()
		}
	}
	return nil
}

// exec runs a statement and returns how many rows it changed.
func (s *session) exec(query string, check func(string) error, args []any) (int64, error) {
	st, cached, err := s.prepare(query, check)
	if err != nil {
		return 0, err
	}
	if !cached {
		defer func() { _ = st.Close() }() // its own error was returned by the run
	}
	if err := s.bind(args); err != nil {
		return 0, err
	}
	r, err := st.exec.ExecContext(context.Background(), s.args)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// rows starts a query. Its rows must be closed before the session is used for
// something else than other queries and statements.
func (s *session) rows(ctx context.Context, query string, check func(string) error, args []any) (*Rows, error) {
	st, cached, err := s.prepare(query, check)
	if err != nil {
		return nil, err
	}
	if err := s.bind(args); err != nil {
		return nil, err
	}
	r, err := st.query.QueryContext(context.Background(), s.args)
	if err != nil {
		return nil, err
	}
	st.busy = true
	rows := &Rows{ctx: ctx, s: s, st: st, temporary: !cached, rows: r, values: make([]driver.Value, len(r.Columns()))}
	s.open = append(s.open, rows)
	return rows, nil
}

// one runs a query for its first row.
func (s *session) one(query string, args []any, dest ...any) error {
	rows, err := s.rows(context.Background(), query, nil, args)
	if err != nil {
		return err
	}
	return rows.one(dest)
}

// closeRows closes what was left open.
func (s *session) closeRows() error {
	var err error
	for len(s.open) > 0 {
		err = errors.Join(err, s.open[len(s.open)-1].Close())
	}
	return err
}

func (s *session) close() error {
	err := s.closeRows()
	for _, st := range s.prepared {
		err = errors.Join(err, st.Close())
	}
	return errors.Join(err, s.conn.Close())
}

// bind converts arguments as database/sql does, without its detours for the
// usual types.
func (s *session) bind(args []any) error {
	s.args = s.args[:0]
	for i, a := range args {
		v := driver.NamedValue{Ordinal: i + 1}
		if named, is := a.(sql.NamedArg); is {
			v.Name, a = named.Name, named.Value
		}
		var err error
		if v.Value, err = value(a); err != nil {
			return fmt.Errorf("argument %d: %w", i+1, err)
		}
		s.args = append(s.args, v)
	}
	return nil
}

func value(a any) (driver.Value, error) {
	switch a := a.(type) {
	case nil, int64, string, []byte, float64, bool, time.Time:
		return a, nil
	case int:
		return int64(a), nil
	case int32:
		return int64(a), nil
	case uint32:
		return int64(a), nil
	}
	return driver.DefaultParameterConverter.ConvertValue(a)
}
