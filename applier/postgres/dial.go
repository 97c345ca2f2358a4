package postgres

import (
	"net"
	"time"
)

// How long it takes to see that a server's machine is gone. A step has no deadline, for
// a batch may take its time, and the server ends what hangs on its side.
const (
	connectTimeout = 10 * time.Second // connect_timeout in an address replaces it
	silence        = time.Minute      // without a sign of life from the other kernel
)

// dialer makes connections that notice.
func dialer() *net.Dialer {
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence / 4, Interval: silence / 4, Count: 3},
		Control:         unanswered,
	}
}
