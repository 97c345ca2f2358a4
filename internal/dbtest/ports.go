package dbtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are taken below those that the system gives to outgoing connections. There
// one could be taken while a server is down, even by a client that
// tries to reach the server: a connection to a free port can connect to itself.
const (
	portMin = 20_000
	portMax = 32_000
)

func freePort() (int, error) {
	var errs []error
	for range 20 {
		port := portMin + rand.IntN(portMax-portMin)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
		errs = append(errs, err)
	}
	return 0, fmt.Errorf("find a free port: %w", errors.Join(errs...))
}
