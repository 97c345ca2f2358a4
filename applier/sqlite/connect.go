package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"

	sqlite3 "modernc.org/sqlite"
)

// connector opens connections to a file that other processes may be opening at
// the same moment. The first of them switches a new file to WAL, and SQLite
// answers the others SQLITE_BUSY at once, busy_timeout or not: waiting inside
// could be a deadlock of two that switch. Here nothing is held, so it is waited out.
type connector struct{ driver.Connector }

func newConnector(path string) (driver.Connector, error) {
	c, err := sqlite3.NewConnector(dsn(path))
	if err != nil {
		return nil, err
	}
	return connector{c}, nil
}

// connectPause and connectMax are the time between two tries and the time for
// all, which is the busy_timeout of the connections.
const (
	connectPause = 5 * time.Millisecond
	connectMax   = 5 * time.Second
)

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	for began := time.Now(); ; {
		conn, err := c.Connector.Connect(ctx)
		if err == nil || !busy(err) || time.Since(began) > connectMax {
			return conn, err
		}
		t := time.NewTimer(connectPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}

// busyCode is SQLITE_BUSY, whatever its extended code says of the reason.
const busyCode = 5

func busy(err error) bool {
	e, is := errors.AsType[*sqlite3.Error](err)
	return is && e.Code()&0xff == busyCode
}
