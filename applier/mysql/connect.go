package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	mysql "github.com/go-sql-driver/mysql"
)

// role is what a connection is for.
type role int

const (
	writes role = iota // READ COMMITTED
	reads              // REPEATABLE READ: snapshots
)

// level is the isolation level of a role.
func (r role) level() string {
	if r == reads {
		return "REPEATABLE-READ"
	}
	return "READ-COMMITTED"
}

// connector makes connections that are as we rely on: it sets everything, and
// then asks the server whether it is so.
type connector struct {
	config  *mysql.Config
	role    role
	session session
}

func (a *address) connector(r role) (*connector, error) {
	config := a.config.Clone()
	// A write in a snapshot is a mistake, not a sign of a fail-over.
	config.RejectReadOnly = r == writes
	if _, err := mysql.NewConnector(config); err != nil {
		return nil, fmt.Errorf("database %q: %w", a.text, err)
	}
	return &connector{config, r, a.session}, nil
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return &mysql.MySQLDriver{} }

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	var d dialing
	config := c.config.Clone()
	config.DialFunc = d.dial
	one, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	made, err := one.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn := &link{made.(driverConn), d.conn}
	if err := c.settle(ctx, conn); err != nil {
		_ = conn.Close() // the error that matters is the one of the settings
		return nil, err
	}
	return conn, nil
}

func (c *connector) settle(ctx context.Context, conn driver.Conn) error {
	v, err := ask(ctx, conn, "SELECT VERSION()")
	if err != nil {
		return err
	}
	s, err := parseVersion(v[0])
	if err != nil {
		return err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, c.set(s), nil); err != nil {
		return err
	}
	return c.check(ctx, conn, s)
}

// set is the statement that sets everything. Autocommit stays on: the framework
// begins SQL transactions itself.
func (c *connector) set(s server) string {
	idle := ""
	if c.role == writes && c.session.idle > 0 {
		idle = fmt.Sprintf(", %s = %d", s.idle(), c.session.idle)
	}
	return fmt.Sprintf("SET SESSION sql_mode = '%s', time_zone = '+00:00', autocommit = 1, %s = '%s', innodb_lock_wait_timeout = %d%s",
		c.session.mode, s.isolation(), c.role.level(), c.session.lockWait, idle)
}

// check asks what is set. A proxy between us and the server could have kept it
// to itself.
func (c *connector) check(ctx context.Context, conn driver.Conn, s server) error {
	got, err := ask(ctx, conn, "SELECT @@autocommit, @@time_zone, @@"+s.isolation()+", @@character_set_client, @@character_set_connection, @@sql_mode, @@max_allowed_packet")
	if err != nil {
		return err
	}
	for i, want := range []struct{ setting, value string }{
		{"autocommit", "1"},
		{"time_zone", "+00:00"},
		{s.isolation(), c.role.level()},
		{"character_set_client", "utf8mb4"},
		{"character_set_connection", "utf8mb4"},
	} {
		if got[i] != want.value {
			return &SettingError{want.setting, got[i], want.value, "it was set for this connection and is not so: look at what is between this program and the server"}
		}
	}
	if err := checkMode(strings.ToUpper(got[5])); err != nil {
		return &SettingError{"sql_mode", got[5], c.session.mode, err.Error()}
	}
	packet := 0
	if _, err := fmt.Sscan(got[6], &packet); err != nil || packet < packetMin {
		return &SettingError{"max_allowed_packet", got[6], fmt.Sprintf("at least %d", packetMin), "set it on the server, as SET GLOBAL or in its configuration"}
	}
	return nil
}

// packetMin is what the framework's own statements need.
const packetMin = 64 << 10

// ask runs a query on a connection of the driver, and returns its first row as text.
func ask(ctx context.Context, conn driver.Conn, query string) (out []string, err error) {
	rows, err := conn.(driver.QueryerContext).QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(values); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("no answer to %s", query)
		}
		return nil, err
	}
	for _, v := range values {
		if b, is := v.([]byte); is {
			v = string(b)
		}
		out = append(out, fmt.Sprint(v))
	}
	return out, nil
}

// Bounds of the pools. A partition that applies holds one connection, and so does
// a snapshot for as long as it is read. With more partitions than connections, they
// take turns.
const (
	writesMax = 32
	readsMax  = 16
	// idleMax is how long a connection is kept for nothing.
	idleMax = 5 * time.Minute
)

// pool opens a pool of one role. It does not connect yet.
func (a *address) pool(r role, connections int) (*sql.DB, error) {
	c, err := a.connector(r)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(idleMax)
	return db, nil
}

// facts are what has to be known of a server beside that it is as it should be.
type facts struct {
	server
	packet int   // max_allowed_packet, in bytes
	flush  int64 // innodb_flush_log_at_trx_commit
}

func askFacts(ctx context.Context, db *sql.DB) (facts, error) {
	var f facts
	var version string
	var packet int64
	if err := db.QueryRowContext(ctx, "SELECT VERSION(), @@max_allowed_packet, @@innodb_flush_log_at_trx_commit").Scan(&version, &packet, &f.flush); err != nil {
		return f, err
	}
	f.packet = int(min(packet, math.MaxInt32))
	var err error
	f.server, err = parseVersion(version)
	return f, err
}
