package dbtest

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PostgreSQL starts a server of the test's own, to be killed and started as it likes.
// It ends with the test.
func PostgreSQL(t testing.TB) *Server {
	t.Helper()
	return own(t, newPostgreSQL)
}

func postgresProgram(name string) (string, error) {
	return program(name, "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
}

func newPostgreSQL() (*Server, error) {
	initdb, err := postgresProgram("initdb")
	if err != nil {
		return nil, err
	}
	postgres, err := postgresProgram("postgres")
	if err != nil {
		return nil, err
	}
	h, err := newHome("postgres", "postgres")
	if err != nil {
		return nil, err
	}
	if err := h.run(initdb, "-D", h.path("data"), "-U", User, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return launch(kind{
		name: "PostgreSQL", scheme: "postgres", database: "postgres", query: "sslmode=disable",
		stop: syscall.SIGINT, orphan: syscall.SIGQUIT, // each ends its children, too
		command: func(h *home, port int) (*exec.Cmd, error) {
			return h.command(postgres, "-D", h.path("data"), "-p", strconv.Itoa(port),
				"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "max_connections=200",
				"-c", "shared_buffers=128MB", "-c", "max_wal_size=2GB", "-c", "timezone=UTC", "-c", "deadlock_timeout=100ms",
				"-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on"), nil
		},
		ping:      func(ctx context.Context, url string) error { return onPostgres(ctx, url, "SELECT 1") },
		databases: onPostgres,
		drop:      "DROP DATABASE IF EXISTS %s WITH (FORCE)",
	}, h)
}

func onPostgres(ctx context.Context, url, statement string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol)
	return errors.Join(err, c.Close(ctx))
}
