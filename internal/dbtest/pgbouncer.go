package dbtest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// PgBouncer starts a pooler in front of a PostgreSQL server, in one of its modes:
// session, transaction or statement. All databases of the server are reached through it.
// It ends with the test; make databases with the server's NewDatabase, and ask
// the pooler for their URL.
func PgBouncer(t testing.TB, server *Server, mode string) *Server {
	t.Helper()
	return own(t, func() (*Server, error) { return newPgBouncer(server, mode) })
}

const pgbouncerConfig = `[databases]
* = host=127.0.0.1 port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = trust
auth_file = users
admin_users = %s
pool_mode = %s
default_pool_size = 4
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
`

func newPgBouncer(server *Server, mode string) (*Server, error) {
	pgbouncer, err := program("pgbouncer", "/usr/sbin")
	if err != nil {
		return nil, err
	}
	h, err := newHome("pgbouncer", "postgres")
	if err != nil {
		return nil, err
	}
	if err := h.write("users", strconv.Quote(User)+" "+strconv.Quote(Password)+"\n"); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return launch(kind{
		name: "PgBouncer", scheme: "postgres", database: "postgres", query: "sslmode=disable", stop: syscall.SIGTERM, orphan: syscall.SIGKILL,
		command: func(h *home, port int) (*exec.Cmd, error) {
			config := fmt.Sprintf(pgbouncerConfig, server.port, User, strconv.Itoa(port), User, mode)
			if err := h.write("pgbouncer.ini", config); err != nil {
				return nil, err
			}
			return h.command(pgbouncer, "pgbouncer.ini"), nil
		},
		ping:      func(ctx context.Context, url string) error { return onPostgres(ctx, url, "SELECT 1") },
		databases: onPostgres,
		drop:      "DROP DATABASE IF EXISTS %s WITH (FORCE)",
	}, h)
}
