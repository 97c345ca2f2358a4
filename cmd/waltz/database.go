package main

import (
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/migrations"
)

// dbFlags are the flags of every command that talks to a database.
func dbFlags(cmd *cobra.Command) {
	cmd.Flags().String("db", "", "database: sqlite:///abs/file, postgres://user:pw@host/db or mysql://user:pw@host:port/db")
	need(cmd, "db")
}

// openDB prepares the database that an address names. It does not connect yet.
func openDB(addr string) (*sql.DB, migrations.Dialect, error) {
	scheme, _, found := strings.Cut(addr, "://")
	switch {
	case sqlite.IsURL(addr):
		db, err := sqlite.OpenDB(addr)
		return db, migrations.SQLite, asUsage(err)
	case found && (scheme == "postgres" || scheme == "postgresql"):
		c, err := pgx.ParseConfig(addr)
		if err != nil {
			return nil, "", asUsage(err)
		}
		return stdlib.OpenDB(*c), migrations.Postgres, nil
	case found && scheme == "mysql":
		db, err := openMySQL(addr)
		return db, migrations.MySQL, asUsage(err)
	}
	return nil, "", usagef("--db %q has an unknown scheme: want sqlite://, postgres:// or mysql://", redact(addr))
}

func asUsage(err error) error {
	if err == nil {
		return nil
	}
	return usagef("--db: %w", err)
}

func openMySQL(addr string) (*sql.DB, error) {
	c, err := mysqlConfig(addr)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

const mysqlPort = "3306"

// mysqlConfig reads mysql://user:pw@host:port/db?parameters; the parameters are
// those of the driver.
func mysqlConfig(addr string) (*mysql.Config, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil, fmt.Errorf("database %q: want mysql://user:password@host:port/database", redact(addr))
	}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = mysqlPort
	}
	c, err := mysql.ParseDSN("/?" + u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("database %q: %w", redact(addr), err)
	}
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Net, c.Addr, c.DBName = "tcp", net.JoinHostPort(host, port), strings.Trim(u.Path, "/")
	c.ParseTime = true
	return c, nil
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
