package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

//go:embed sqlite/*.sql postgres/*.sql mysql/*.sql
var files embed.FS

// Dialect names a kind of database.
type Dialect string

// The dialects. MySQL is MariaDB, too.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
	MySQL    Dialect = "mysql"
)

// The tables of the migrations themselves.
const (
	VersionTable = "waltz_schema_version"
	LockTable    = "waltz_schema_lock"
)

// Options of a migrator. The zero value works.
type Options struct {
	// Logger gets a line for each migration that was applied. Default: discards.
	Logger *slog.Logger
}

// Migrator migrates one database. Its methods may be called concurrently, and by
// any number of processes at once.
type Migrator struct {
	db      *sql.DB
	dialect Dialect
	log     *slog.Logger
	files   fs.FS
	known   []Migration
	lease   time.Duration // of the lock
}

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string // of its file
	Applied bool
}

// SchemaError says that the schema is not the one that this version of the module
// works with.
type SchemaError struct {
	Database, Known int64 // versions
	Pending         []Migration

	hidden bool // the database shows tables only to those who may read them
}

func (e *SchemaError) Error() string {
	if e.Database > e.Known {
		return fmt.Sprintf("schema of the framework's tables is at version %d, newer than the %d that this program knows: upgrade the program; it never downgrades a schema", e.Database, e.Known)
	}
	text := fmt.Sprintf("schema of the framework's tables is at version %d of %d, pending: %s: run \"waltz migrate up\", or open with MigrateAuto",
		e.Database, e.Known, e.names())
	if e.hidden {
		text += "; if that was done, give this user SELECT on " + VersionTable
	}
	return text
}

func (e *SchemaError) names() string {
	var names []string
	for _, m := range e.Pending {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}

// New prepares the migrations of a database. It does not connect yet. The pool
// stays the caller's.
func New(db *sql.DB, dialect Dialect, o Options) (*Migrator, error) {
	if dialect != SQLite && dialect != Postgres && dialect != MySQL {
		return nil, fmt.Errorf("migrations: unknown dialect %q: want sqlite, postgres or mysql", dialect)
	}
	sub, err := fs.Sub(files, string(dialect))
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	m := &Migrator{db: db, dialect: dialect, log: o.Logger, files: sub, lease: lockLease}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	p, err := m.provider()
	if err != nil {
		return nil, err
	}
	for _, s := range p.ListSources() {
		m.known = append(m.known, Migration{Version: s.Version, Name: s.Path})
	}
	return m, nil
}

// Known returns the version that this module works with.
func (m *Migrator) Known() int64 { return m.known[len(m.known)-1].Version }

func (m *Migrator) provider() (*goose.Provider, error) {
	dialect := map[Dialect]database.Dialect{SQLite: goose.DialectSQLite3, Postgres: goose.DialectPostgres, MySQL: goose.DialectMySQL}[m.dialect]
	p, err := goose.NewProvider(dialect, m.db, m.files,
		goose.WithTableName(VersionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err)
	}
	return p, nil
}

// Up applies what is pending, and returns that. A schema that is up to date is
// left alone without taking the lock. After an error, what was returned is applied, and
// Up goes on from there when it is called again.
//
// Errors: [*SchemaError] for a newer schema; the database's.
func (m *Migrator) Up(ctx context.Context) ([]Migration, error) {
	before := m.Check(ctx)
	if !pending(before) {
		return nil, before
	}
	var done []Migration
	err := newRowLock(m.db, m.dialect, m.lease).while(ctx, func(ctx context.Context) (err error) {
		done, err = m.up(ctx)
		return err
	})
	if err != nil && m.Check(ctx) == nil { // another instance was faster, or only the lock could not be released
		m.log.Warn("schema is up to date, in spite of an error", "err", err)
		err = nil
	}
	if e, is := errors.AsType[*SchemaError](before); is && err != nil && len(done) == 0 {
		err = fmt.Errorf("%w; pending: %s", err, e.names())
	}
	return done, err
}

// up runs under the lock, on whatever another instance did while this one waited:
// goose would take a newer schema for one with nothing to do.
func (m *Migrator) up(ctx context.Context) ([]Migration, error) {
	if err := m.Check(ctx); !pending(err) {
		return nil, err
	}
	if err := m.versions(ctx); err != nil {
		return nil, err
	}
	p, err := m.provider()
	if err != nil {
		return nil, err
	}
	results, err := p.Up(ctx)
	if partial, is := errors.AsType[*goose.PartialError](err); is {
		results = partial.Applied
		err = fmt.Errorf("%s failed, the ones before it are applied; it will be tried again the next time: %w", partial.Failed.Source.Path, partial.Err)
	}
	if err != nil {
		err = fmt.Errorf("migrations: %w", err)
	}
	var done []Migration
	for _, r := range results {
		done = append(done, Migration{r.Source.Version, r.Source.Path, true})
		m.log.Info("migration applied", "file", r.Source.Path, "took", r.Duration)
	}
	return done, err
}

// versions makes the version table as goose would: where DDL commits by itself,
// goose never gets over a crash between making it and writing its first row.
func (m *Migrator) versions(ctx context.Context) error {
	if _, err := m.db.ExecContext(ctx, createVersions(m.dialect)); err != nil {
		return fmt.Errorf("migrations: create %s: %w", VersionTable, err)
	}
	var rows int
	err := m.db.QueryRowContext(ctx, "SELECT count(*) FROM "+VersionTable).Scan(&rows)
	if err == nil && rows == 0 {
		_, err = m.db.ExecContext(ctx, insertVersion(0))
	}
	if err != nil {
		return fmt.Errorf("migrations: first row of %s: %w", VersionTable, err)
	}
	return nil
}
