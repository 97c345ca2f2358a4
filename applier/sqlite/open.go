package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

// View is an applier on SQLite.
type View = applier.Applier[Tx, Snapshot]

// Handler applies one kind of transaction on SQLite; applier.On makes one.
type Handler = applier.Handler[Tx]

// Open opens the view in a file, making the file if there is none, and brings the
// framework's tables up to date or checks them. file is a path or
// sqlite:///absolute/path.
//
// Errors: the file's, migrations' [*migrations.SchemaError], and those of
// [applier.Open].
func Open(ctx context.Context, client *waltz.Client, file string, o applier.Options, handlers ...Handler) (*View, error) {
	return OpenLog(ctx, applier.FromClient(client), file, o, handlers...)
}

// OpenLog is Open on any log: a test's, or one that is read in another way.
func OpenLog(ctx context.Context, log applier.Log, file string, o applier.Options, handlers ...Handler) (*View, error) {
	path, err := Path(file)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, path, o); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db, err := openDatabase(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return applier.Open(ctx, log, db, o, handlers...)
}

// OpenDB opens a pool of database/sql on a file, with the settings that the
// applier's own connections have: for the application's migrations and for reading
// beside the view. The caller closes it.
func OpenDB(file string) (*sql.DB, error) {
	path, err := Path(file)
	if err != nil {
		return nil, err
	}
	c, err := newConnector(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return sql.OpenDB(c), nil
}

// scheme stands before the address of a file.
const scheme = "sqlite"

// IsURL reports whether file is, or was meant to be, an address: it begins with
// "sqlite:". A file with such a name is ./sqlite:name.
func IsURL(file string) bool {
	name, _, found := strings.Cut(file, ":")
	return found && strings.EqualFold(name, scheme)
}

// Path returns the absolute path that sqlite:///absolute/path or a path names.
// Every other spelling of an address is refused with the right one.
func Path(file string) (string, error) {
	if IsURL(file) {
		return urlPath(file)
	}
	if file == "" || strings.HasPrefix(file, ":memory:") || strings.Contains(file, "://") {
		return "", fmt.Errorf("database %q: want a path or sqlite:///absolute/path; a view in memory would be another one on each connection", file)
	}
	return filepath.Abs(file)
}

// urlPath returns the path of an address.
func urlPath(addr string) (string, error) {
	u, err := url.Parse(addr)
	if err != nil {
		return "", fmt.Errorf("database %q: %w", addr, errors.Unwrap(err))
	}
	if u.OmitHost || u.Host != "" || u.Opaque != "" {
		return "", fmt.Errorf("database %q: write %s:///%s for an absolute file", addr, scheme, strings.TrimPrefix(u.Opaque+u.Host+u.Path, "/"))
	}
	if u.Path == "" || strings.HasSuffix(u.Path, "/") || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", fmt.Errorf("database %q: want %s:///absolute/path and nothing else", addr, scheme)
	}
	return filepath.Clean(u.Path), nil
}

// dsn has the settings of every connection. Times are stored as SQLite's own
// functions read them.
func dsn(path string) string {
	q := url.Values{
		"_pragma": {
			"busy_timeout(5000)", "journal_mode(wal)", "synchronous(full)", "foreign_keys(1)",
			"temp_store(memory)", "cache_size(-16384)",
		},
		"_txlock":      {"immediate"},
		"_time_format": {"sqlite"},
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

func migrate(ctx context.Context, path string, o applier.Options) error {
	db, err := OpenDB(path)
	if err != nil {
		return err
	}
	m, err := migrations.New(db, migrations.SQLite, migrations.Options{Logger: o.Logger})
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
