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

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
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
}

func (e *SchemaError) Error() string {
	if e.Database > e.Known {
		return fmt.Sprintf("schema of the framework's tables is at version %d, newer than the %d that this program knows: upgrade the program; it never downgrades a schema", e.Database, e.Known)
	}
	var names []string
	for _, m := range e.Pending {
		names = append(names, m.Name)
	}
	return fmt.Sprintf("schema of the framework's tables is at version %d of %d, pending: %s: run \"waltz migrate up\", or open with MigrateAuto",
		e.Database, e.Known, strings.Join(names, ", "))
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
	m := &Migrator{db: db, dialect: dialect, log: o.Logger, files: sub}
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
	if err := m.Check(ctx); err == nil || newer(err) || !pending(err) {
		return nil, err
	}
	locker, err := m.locker()
	if err != nil {
		return nil, err
	}
	if err := locker.Lock(ctx, m.db); err != nil {
		return nil, fmt.Errorf("migrations: wait for lock %s: %w", LockTable, err)
	}
	done, err := m.up(ctx)
	if unlock := locker.Unlock(context.WithoutCancel(ctx), m.db); unlock != nil {
		err = errors.Join(err, fmt.Errorf("migrations: release lock %s: %w", LockTable, unlock))
	}
	return done, err
}

// up runs under the lock. What another instance did while this one waited is
// found by goose.
func (m *Migrator) up(ctx context.Context) ([]Migration, error) {
	p, err := m.provider()
	if err != nil {
		return nil, err
	}
	results, err := p.Up(ctx)
	if partial, is := errors.AsType[*goose.PartialError](err); is {
		results = partial.Applied
		err = fmt.Errorf("%s failed, the ones before it are applied; it will be tried again the next time: %w", partial.Failed.Source.Path, partial.Err)
	}
	var done []Migration
	for _, r := range results {
		done = append(done, Migration{r.Source.Version, r.Source.Path, true})
		m.log.Info("migration applied", "file", r.Source.Path, "took", r.Duration)
	}
	if err != nil {
		return done, fmt.Errorf("migrations: %w", err)
	}
	return done, nil
}

// locker makes a lock for one use.
func (m *Migrator) locker() (lock.Locker, error) {
	o := []lock.TableLockerOption{
		lock.WithTableName(LockTable),
		lock.WithTableLockTimeout(lockRetry, uint64(lockTimeout/lockRetry)),
		lock.WithTableLogger(m.log),
	}
	switch m.dialect {
	case Postgres:
		return lock.NewPostgresTableLocker(o...)
	case MySQL:
		return lock.NewMySQLTableLocker(o...)
	}
	return newRowLock(), nil
}
