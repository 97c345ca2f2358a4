package view

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Querier asks a view: a snapshot of its applier, or its database as it is then.
// Arguments stand as ? in the query, whatever the database.
type Querier func(ctx context.Context, query string, args ...any) (Rows, error)

// Rows is the result of a query, to be read as one of database/sql.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Columns() []string
	Err() error
	Close() error
}

// asker is a *sql.DB, or a *sql.Tx.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// plain asks a database, each time as it is then, or an SQL transaction.
func plain(db asker) Querier {
	return func(ctx context.Context, query string, args ...any) (Rows, error) {
		rows, err := db.QueryContext(ctx, query, args...) //nolint:rowserrcheck // the caller's
		if err != nil {
			return nil, err
		}
		return dbRows{rows}, nil
	}
}

type dbRows struct{ *sql.Rows }

// Columns implements Rows; closed rows have none.
func (r dbRows) Columns() []string {
	names, err := r.Rows.Columns()
	if err != nil {
		return nil
	}
	return names
}

// each calls scan for each row of a query.
func each(ctx context.Context, q Querier, scan func(Rows) error, query string, args ...any) (err error) {
	rows, err := q(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
