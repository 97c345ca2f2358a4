package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	mysql "github.com/go-sql-driver/mysql"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/mutant"
)

// commitError is an error of COMMIT. Unless the server says what became of it,
// nobody knows.
type commitError struct{ err error }

func (e *commitError) Error() string { return "commit: " + e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// SettingError refuses a server or a setting that can't be worked with.
type SettingError struct {
	Setting   string
	Got, Want string
	Fix       string
}

func (e *SettingError) Error() string {
	return fmt.Sprintf("%s is %s, want %s: %s", e.Setting, e.Got, e.Want, e.Fix)
}

// fault classifies an error of the server, the driver or the connection.
func (s server) fault(err error) (applier.Fault, bool) {
	f, is := s.cause(err)
	_, commit := errors.AsType[*commitError](err)
	if !commit || mutant.On("mysql-unknown-commit-taken-as-failed") {
		return f, is
	}
	if !is {
		f = applier.Fault{Code: "commit", Text: "the answer to COMMIT is missing"}
	}
	// What the server itself undid is known. Anything else may have been
	// written before it went wrong.
	if f.Class != applier.ClassRetry {
		f.Class = applier.ClassUnknown
	}
	return f, true
}

func (s server) cause(err error) (applier.Fault, bool) {
	if errors.Is(err, applier.ErrImplicitCommit) {
		return applier.Fault{Class: applier.ClassBug, Code: "implicit commit", Text: applier.ErrImplicitCommit.Error()}, true
	}
	if e, is := errors.AsType[*mysql.MySQLError](err); is {
		return s.numbered(e), true
	}
	if e, is := errors.AsType[*SettingError](err); is {
		return applier.Fault{Class: applier.ClassConfiguration, Code: e.Setting, Text: e.Error()}, true
	}
	if e, is := errors.AsType[*MissingRowsError](err); is {
		return applier.Fault{Class: applier.ClassData, Code: "missing rows", Text: e.Error()}, true
	}
	for _, c := range driverErrors {
		if errors.Is(err, c.err) {
			return applier.Fault{Class: c.class, Code: c.code, Text: c.err.Error()}, true
		}
	}
	if e, is := errors.AsType[net.Error](err); is && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return applier.Fault{Class: applier.ClassBackOff, Code: "network", Text: e.Error()}, true
	}
	return applier.Fault{}, false
}

// connectionCode is the code of a connection that is lost.
const connectionCode = "connection"

// driverErrors are what the driver and database/sql say by themselves.
var driverErrors = []struct {
	err   error
	class applier.Class
	code  string
}{
	{mysql.ErrPktTooLarge, applier.ClassData, "packet"}, // a smaller batch may fit
	{errRowTooLarge, applier.ClassData, "packet"},
	{mysql.ErrInvalidConn, applier.ClassBackOff, connectionCode},
	{driver.ErrBadConn, applier.ClassBackOff, connectionCode},
	{sql.ErrConnDone, applier.ClassBackOff, connectionCode},
	{mysql.ErrMalformPkt, applier.ClassBackOff, connectionCode},
	{mysql.ErrPktSync, applier.ClassBackOff, connectionCode},
	{mysql.ErrPktSyncMul, applier.ClassBackOff, connectionCode},
	{mysql.ErrBusyBuffer, applier.ClassBackOff, connectionCode},
	{io.EOF, applier.ClassBackOff, connectionCode},
	{io.ErrUnexpectedEOF, applier.ClassBackOff, connectionCode},
	{net.ErrClosed, applier.ClassBackOff, connectionCode},
	{mysql.ErrNoTLS, applier.ClassConfiguration, "tls"},
	{mysql.ErrCleartextPassword, applier.ClassConfiguration, "password"},
	{mysql.ErrNativePassword, applier.ClassConfiguration, "password"},
	{mysql.ErrOldPassword, applier.ClassConfiguration, "password"},
	{mysql.ErrUnknownPlugin, applier.ClassConfiguration, "password"},
	{mysql.ErrOldProtocol, applier.ClassConfiguration, "protocol"},
}

// numbered looks a number up: what only this kind of server has first.
func (s server) numbered(e *mysql.MySQLError) applier.Fault {
	if e.Number == 1105 && strings.Contains(e.Message, "max_allowed_packet") { // one argument is too large; 1105 says nothing
		return applier.Fault{Class: applier.ClassData, Code: "1105 ER_UNKNOWN_ERROR", Text: e.Message}
	}
	n, known := s.numbers()[e.Number]
	if !known {
		n, known = numbers[e.Number]
	}
	if !known {
		n = number{fmt.Sprintf("error %d", e.Number), stateClass(string(e.SQLState[:])), values}
	}
	return applier.Fault{Class: n.class, Code: fmt.Sprintf("%d %s", e.Number, n.name), Text: n.text.of(e.Message)}
}

// stateClass guesses from the class of an SQLSTATE, for numbers that are in no
// table: new servers get new numbers.
func stateClass(state string) applier.Class {
	switch state[:2] {
	case "21", "22", "23", "44", "45":
		return applier.ClassData
	case "08":
		return applier.ClassBackOff
	case "40":
		return applier.ClassRetry
	case "0A", "28", "3D", "42":
		return applier.ClassConfiguration
	}
	return applier.ClassBug
}

// of leaves the values of rows out of a message.
func (t text) of(message string) string {
	switch t {
	case plain:
		return message
	case key:
		return from(message, " for key ")
	case column:
		return from(message, " for column ")
	}
	return ""
}

// from is the last mark and what follows. Before it stand values, which may
// hold the mark, too.
func from(message, mark string) string {
	i := strings.LastIndex(message, mark)
	if i < 0 {
		return ""
	}
	return "a value" + message[i:]
}
