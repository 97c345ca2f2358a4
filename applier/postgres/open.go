package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

// View is an applier on PostgreSQL.
type View = applier.Applier[*Tx, *Snapshot]

// Handler applies one kind of transaction on PostgreSQL; applier.On makes one.
type Handler = applier.Handler[*Tx]

// Open opens the view in a database, and brings the framework's tables up to date
// or checks them. url is postgres://user:password@host:port/database with the
// parameters of pgx and of its pool; pool_max_conns bounds the connections that
// write and, apart, those that read.
//
// Errors: the database's, migrations' [*migrations.SchemaError], and those of
// [applier.Open].
func Open(ctx context.Context, client *waltz.Client, url string, o applier.Options, handlers ...Handler) (*View, error) {
	return OpenLog(ctx, applier.FromClient(client), url, o, handlers...)
}

// OpenLog is Open on any log: a test's, or one that is read in another way.
func OpenLog(ctx context.Context, log applier.Log, url string, o applier.Options, handlers ...Handler) (*View, error) {
	if err := migrate(ctx, url, o); err != nil {
		return nil, fmt.Errorf("open %s: %w", redacted(url), err)
	}
	db, err := openDatabase(ctx, url, o.Name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", redacted(url), err)
	}
	return applier.Open(ctx, log, db, o, handlers...)
}

// OpenDB opens a pool of database/sql, which works through a pooler, too: for
// the application's migrations. The caller closes it.
func OpenDB(url string) (*sql.DB, error) {
	c, err := parse(url)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector{stdlib.GetConnector(*c.ConnConfig)}), nil
}

// IsURL reports whether address is, or was meant to be, one of PostgreSQL's.
func IsURL(address string) bool {
	scheme, _, found := strings.Cut(address, ":")
	return found && (strings.EqualFold(scheme, "postgres") || strings.EqualFold(scheme, "postgresql"))
}

func migrate(ctx context.Context, url string, o applier.Options) error {
	db, err := OpenDB(url)
	if err != nil {
		return err
	}
	m, err := migrations.New(db, migrations.Postgres, migrations.Options{Logger: o.Logger})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	if o.Migrate == applier.MigrateCheck {
		err = m.Check(ctx)
	} else {
		_, err = m.Up(ctx)
	}
	return errors.Join(err, db.Close())
}

// Connections that write and that read, unless the URL says otherwise. Those that
// write are as many as there may be steps under way: more partitions take turns.
const (
	writersMax = 8
	readersMax = 16
)

// versionMin is the oldest server that is tried: older ones get no fixes any more.
const versionMin = 140000

// parse reads an address. Statements of the framework's own work everywhere.
func parse(url string) (*pgxpool.Config, error) {
	if !IsURL(url) {
		return nil, errors.New("not an address of PostgreSQL: want postgres://user:password@host:port/database") // it may hold a password
	}
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err // without the password
	}
	c.ConnConfig.DefaultQueryExecMode = unprepared
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	c.ConnConfig.DialFunc = dialer().DialContext
	return c, nil
}

// redacted is an address fit for errors.
func redacted(url string) string {
	c, err := pgx.ParseConfig(url)
	if err != nil {
		return "the database"
	}
	return fmt.Sprintf("postgres://%s:%d/%s", c.Host, c.Port, c.Database)
}

func openDatabase(ctx context.Context, url, name string) (*database, error) {
	c, err := parse(url)
	if err != nil {
		return nil, err
	}
	if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "waltz " + name
	}
	bounds := takeLimits(c.ConnConfig.RuntimeParams)
	d := &database{address: redacted(url), mode: pgx.QueryExecModeCacheStatement, id: strings.ToLower(rand.Text()[:8])}
	server, err := probe(ctx, c.ConnConfig)
	if err != nil {
		return nil, err
	}
	d.pooled, bounds = server.pooled, bounds.of(server.version)
	if d.pooled {
		d.mode = pgx.QueryExecModeCacheDescribe // within an SQL transaction the server's process stays the same
		d.local = bounds.local()
	} else {
		bounds.put(c.ConnConfig.RuntimeParams)
	}
	c.ConnConfig.DefaultQueryExecMode = d.mode
	if d.writers, err = pool(ctx, c, url, writersMax); err != nil {
		return nil, err
	}
	readers, err := pool(ctx, c, url, readersMax)
	if err != nil {
		d.writers.Close()
		return nil, err
	}
	d.readers = newReaders(readers)
	return d, nil
}

func pool(ctx context.Context, c *pgxpool.Config, url string, most int32) (*pgxpool.Pool, error) {
	c = c.Copy()
	if !strings.Contains(url, "pool_max_conns=") {
		c.MaxConns = most
	}
	return pgxpool.NewWithConfig(context.WithoutCancel(ctx), c)
}

// server is what answers at an address.
type server struct {
	version int
	pooled  bool // another process answers than the one that greeted
}

// probe looks at what answers, and refuses what the view would not be safe with.
func probe(ctx context.Context, c *pgx.ConnConfig) (s server, err error) {
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return s, plainly(err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	var pid uint32
	var encoding string
	err = conn.QueryRow(ctx, "SELECT pg_backend_pid()::bigint, current_setting('server_version_num')::int, current_setting('server_encoding')").Scan(&pid, &s.version, &encoding)
	if err != nil {
		return s, err
	}
	if s.version < versionMin {
		return s, fmt.Errorf("the server is PostgreSQL %d: want %d or later", s.version/10000, versionMin/10000)
	}
	if encoding != "UTF8" {
		return s, fmt.Errorf("the database's encoding is %s: want UTF8 (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)", encoding)
	}
	s.pooled = pid != conn.PgConn().PID()
	return s, nil
}
