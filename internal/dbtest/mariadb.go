package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// MariaDB starts a server of the test's own, to be killed and started as it likes.
// It ends with the test.
func MariaDB(t testing.TB) *Server {
	t.Helper()
	return own(t, newMariaDB)
}

// account is made while the server does not look at the grant tables yet: reading
// them makes it.
const account = "FLUSH PRIVILEGES;\nCREATE USER " + User + "@'%' IDENTIFIED BY '" + Password + "';\nGRANT ALL ON *.* TO " + User + "@'%' WITH GRANT OPTION;\n"

func newMariaDB() (*Server, error) {
	install, err := program("mariadb-install-db", "/usr/bin")
	if err != nil {
		return nil, err
	}
	mariadbd, err := program("mariadbd", "/usr/sbin", "/usr/libexec")
	if err != nil {
		return nil, err
	}
	h, err := newHome("mariadb", "mysql")
	if err != nil {
		return nil, err
	}
	if err := h.write("account.sql", account); err != nil {
		return nil, errors.Join(err, h.close())
	}
	if err := h.run(install, "--no-defaults", "--datadir="+h.path("data"), "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
		"--extra-file="+h.path("account.sql"), "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M"); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return launch(kind{
		name: "MariaDB", scheme: "mysql", database: "mysql", stop: syscall.SIGTERM, orphan: syscall.SIGKILL,
		command: func(h *home, port int) (*exec.Cmd, error) {
			return h.command(mariadbd, "--no-defaults", "--datadir="+h.path("data"), "--port="+strconv.Itoa(port), "--bind-address=127.0.0.1",
				"--socket="+h.path("socket"), "--pid-file="+h.path("data/pid"), "--skip-name-resolve", "--skip-log-bin", "--max-connections=200",
				"--max-allowed-packet=16M", "--innodb-buffer-pool-size=128M", "--innodb-log-file-size=128M", "--character-set-server=utf8mb4",
				"--innodb-flush-log-at-trx-commit=1", "--innodb-doublewrite=1"), nil
		},
		ping:      func(ctx context.Context, url string) error { return onMariaDB(ctx, url, "SELECT 1") },
		databases: onMariaDB,
		drop:      "DROP DATABASE IF EXISTS %s",
	}, h)
}

func onMariaDB(ctx context.Context, address, statement string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = User, Password, "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	c.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	db := sql.OpenDB(connector)
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}
