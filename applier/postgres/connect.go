package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// connectError says in one line why there is no connection. The driver's own words
// have a line for each try, with and without TLS, which mostly say the same.
type connectError struct{ err *pgconn.ConnectError }

func (e *connectError) Error() string {
	return "connect as user " + e.err.Config.User + " to database " + e.err.Config.Database + ": " + e.cause()
}

func (e *connectError) Unwrap() error { return e.err }

// plainly gives an error of connecting one line; others stay as they are.
func plainly(err error) error {
	if e, is := errors.AsType[*pgconn.ConnectError](err); is {
		return &connectError{e}
	}
	return err
}

// noTLS is what the driver says of a server without TLS before it tries without, where
// the address allows that. Then it is no cause.
const noTLS = "server refused TLS connection"

// cause is what each address answered.
func (e *connectError) cause() string {
	var causes []string
	for _, err := range tries(e.err.Unwrap()) {
		if c := oneTry(err); !slices.Contains(causes, c) {
			causes = append(causes, c)
		}
	}
	others := slices.DeleteFunc(slices.Clone(causes), func(c string) bool { return strings.HasSuffix(c, noTLS) })
	if len(others) > 0 {
		causes = others
	}
	return strings.Join(causes, "; ")
}

// joined are several errors.
type joined interface {
	error
	Unwrap() []error
}

// tries takes apart what was joined.
func tries(err error) []error {
	if several, is := errors.AsType[joined](err); is {
		return several.Unwrap()
	}
	return []error{err}
}

// oneTry says why one address gave no connection: host:port and what it answered.
func oneTry(err error) string {
	if dial, is := errors.AsType[*net.OpError](err); is && dial.Op == "dial" {
		return dial.Error()
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	address, _, found := strings.Cut(text, " (")
	if answer, is := errors.AsType[*pgconn.PgError](err); is && found {
		return address + ": " + answer.Error()
	}
	return text
}

// lostText says what became of a connection. Of errors that may hold values of rows it
// says nothing.
func lostText(err error) string {
	if e, is := errors.AsType[*pgconn.ConnectError](err); is {
		return (&connectError{e}).cause()
	}
	if e, is := errors.AsType[*net.OpError](err); is {
		return e.Error()
	}
	for _, known := range []error{io.ErrUnexpectedEOF, io.EOF, net.ErrClosed, pgconn.ErrConnClosed, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return ""
}

// connector makes connections for database/sql, whose errors have one line.
type connector struct{ driver.Connector }

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	return conn, plainly(err)
}
