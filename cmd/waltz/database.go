package main

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/cmd/waltz/internal/applybench"
	"github.com/waltz-log/waltz/migrations"
)

// dbFlags are the flags of every command that talks to a database.
func dbFlags(cmd *cobra.Command) {
	cmd.Flags().String("db", "", "database: sqlite:///abs/file, postgres://user:pw@host/db or mysql://user:pw@host:port/db")
	need(cmd, "db")
}

// openDB prepares the database that an address names, with the settings that the
// applier's own connections have: a pooler in front of PostgreSQL is no obstacle. It
// does not connect yet.
func openDB(addr string) (*sql.DB, migrations.Dialect, error) {
	switch {
	case sqlite.IsURL(addr):
		db, err := sqlite.OpenDB(addr)
		return db, migrations.SQLite, asUsage(err)
	case postgres.IsURL(addr):
		db, err := postgres.OpenDB(addr)
		return db, migrations.Postgres, asUsage(err)
	case mysql.IsURL(addr):
		db, err := mysql.OpenDB(addr)
		return db, migrations.MySQL, asUsage(err)
	}
	return nil, "", usagef("--db: %w", applybench.SchemeError(redact(addr)))
}

// checkDB finds mistakes in the address of a database, without connecting.
func checkDB(addr string) error {
	db, _, err := openDB(addr)
	if err != nil {
		return err
	}
	return db.Close()
}

// mustExist refuses a file that is not there, which SQLite would make.
func mustExist(addr string) error {
	if !sqlite.IsURL(addr) {
		return nil // a server tells
	}
	file, err := sqlite.Path(addr)
	if err != nil {
		return asUsage(err)
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no such database: %s; waltz migrate up makes it", file)
	} else if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	return nil
}

func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return usagef("--db: %w", err)
}

// redact hides the password of an address.
func redact(addr string) string {
	scheme, rest, found := strings.Cut(addr, "://")
	at := strings.LastIndexByte(rest, '@')
	if !found || at < 0 {
		return addr
	}
	user, _, _ := strings.Cut(rest[:at], ":")
	return scheme + "://" + user + ":xxx" + rest[at:]
}
