package view

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/pressly/goose/v3"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/migrations"
)

// kind is what is different from one kind of database to another.
type kind struct {
	name      string // of the folder of its migrations
	framework migrations.Dialect
	goose     goose.Dialect
	form      string // of its addresses
	isURL     func(address string) bool
	check     func(address string) error // whether the address is well-formed
	prepare   func(address string) error // before a view is made
	exists    func(address string) error // nil: the database tells
	missing   func(err error) bool       // whether an error says that a table is not there, or that it is no database
	openDB    func(address string) (*sql.DB, error)
	isolation sql.IsolationLevel // in which an SQL transaction sees one state
	open      func(ctx context.Context, k *kind, log applier.Log, address string, db *sql.DB, o applier.Options) (View, error)
	asks      func(db asker) Querier

	openReader func(address string) (*sql.DB, error) // which makes nothing
}

// kinds are the databases that the ledger's view can be in.
func kinds() []*kind { return []*kind{sqliteKind(), postgresKind(), mysqlKind()} }

// Forms are the addresses that ParseDatabase takes, for people.
func Forms() (forms []string) {
	for _, k := range kinds() {
		forms = append(forms, k.form)
	}
	return forms
}

// Database is where the view is, or will be.
type Database struct {
	kind    *kind
	address string
}

// ParseDatabase reads an address, and connects to nothing.
func ParseDatabase(address string) (Database, error) {
	for _, k := range kinds() {
		if !k.isURL(address) {
			continue
		}
		if err := k.check(address); err != nil {
			return Database{}, err
		}
		return Database{k, address}, nil
	}
	shown := address
	if u, err := url.Parse(address); err == nil {
		shown = u.Redacted()
	}
	return Database{}, fmt.Errorf("%q has an unknown scheme: want %s", shown, or(Forms()))
}

// or joins words as people do.
func or(words []string) (s string) {
	for i, w := range words {
		switch i {
		case 0:
		case len(words) - 1:
			s += " or "
		default:
			s += ", "
		}
		s += w
	}
	return s
}

// besideMax bounds the connections beside the applier's own.
const besideMax = 4

// Open makes or updates the ledger's tables, and opens the view of a log. Any number
// of processes may do so at once.
func (d Database) Open(ctx context.Context, log applier.Log, o applier.Options) (v View, err error) {
	if err := d.kind.prepare(d.address); err != nil {
		return nil, err
	}
	db, err := d.kind.openDB(d.address)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(besideMax)
	if err := d.kind.migrate(ctx, db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	o.Name = Name
	v, err = d.kind.open(ctx, d.kind, log, d.address, db, o)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return v, nil
}

// ErrNoView says that there is no view in a database, or not all of it.
var ErrNoView = errors.New("there is no view")

// Exists returns an error if there is no view.
func (d Database) Exists(ctx context.Context) error {
	_, closeDB, err := d.Reader(ctx)
	if err == nil {
		err = closeDB()
	}
	return err
}

// Reader opens a view that exists for questions, whether or not its applier runs. It
// makes and changes nothing.
func (d Database) Reader(ctx context.Context) (ask Querier, closeDB func() error, err error) {
	db, err := d.reader()
	if err != nil {
		return nil, nil, err
	}
	ask = d.kind.asks(db)
	if _, _, err := FindAccount(ctx, ask, 0); err != nil { // there is none, but there has to be its table
		return nil, nil, errors.Join(d.missing(err), db.Close())
	}
	return ask, db.Close, nil
}

// Look calls read with one state of a view that exists, whether or not its applier
// runs. It makes and changes nothing. An error that says that tables are not there, or
// that it is no database, is an ErrNoView.
func (d Database) Look(ctx context.Context, read func(ctx context.Context, ask Querier) error) error {
	db, err := d.reader()
	if err != nil {
		return err
	}
	return errors.Join(d.missing(d.look(ctx, db, read)), db.Close())
}

func (d Database) look(ctx context.Context, db *sql.DB, read func(ctx context.Context, ask Querier) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: d.kind.isolation})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it was only read
	return read(ctx, d.kind.asks(tx))
}

func (d Database) reader() (*sql.DB, error) {
	if d.kind.exists != nil {
		if err := d.kind.exists(d.address); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoView, err)
		}
	}
	return d.kind.openReader(d.address)
}

func (d Database) missing(err error) error {
	if err != nil && d.kind.missing(err) {
		return fmt.Errorf("%w: %w", ErrNoView, err)
	}
	return err
}
