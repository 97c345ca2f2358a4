package postgres

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// unanswered bounds how long sent data may stay unacknowledged: keep-alives are for
// connections on which nothing is under way.
func unanswered(network, _ string, c syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var set error
	err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
	})
	return errors.Join(err, set)
}
