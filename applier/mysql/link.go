package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net"
)

// driverConn is what the driver's connections can do, and database/sql makes use of.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// link is a connection of the driver with the network's under it.
//
// The driver watches a context by handing it to a goroutine of the connection and
// back, for each statement: that takes as much computing as a small statement does. So
// it gets contexts that never end, and the one that ends cuts the network.
type link struct {
	driverConn
	net net.Conn
}

// dialing remembers the network connection that is made.
type dialing struct{ conn net.Conn }

func (d *dialing) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, network, addr)
	d.conn = c
	return c, err
}

// cutAfter cuts a connection of a pool when ctx ends. The function that it returns ends
// that, and reports whether it came in time.
func cutAfter(ctx context.Context, c *sql.Conn) (stop func() bool, err error) {
	err = c.Raw(func(dc any) error {
		network := dc.(*link).net
		stop = context.AfterFunc(ctx, func() { _ = network.Close() }) // whoever waits for it gets the error
		return nil
	})
	return stop, err
}
