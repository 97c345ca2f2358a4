package waltz

import (
	"context"
	"net"
	"net/url"
)

// Scheme opens the addresses of one kind that Dial does not know by itself, as
// a database driver does for database/sql: embedded.Scheme brings file://,
// zk.Scheme brings zk://. Schemes are handed to Dial with [WithSchemes]; there
// is no global registry.
type Scheme struct {
	// Name is what stands before "://" in an address, in lower case.
	Name string
	// Open prepares the way to the cluster behind u, in which the slashes behind the
	// scheme may be missing (OmitHost, Opaque); an address that is not as it should
	// be is an [ErrAddress]. ctx bounds Open only, not the transport. It is called
	// once for each Dial.
	Open func(ctx context.Context, u *url.URL) (Transport, error)
}

// Transport is the way to a cluster that a scheme has opened.
type Transport struct {
	// Addresses are the servers to ask first, any of which knows all others.
	Addresses []string
	// Dial connects to one of them, or to a server that they named; nil is TCP.
	// Concurrent calls happen.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Close releases what Open took; nil if there is nothing. The client calls
	// it once, after its last connection is closed.
	Close func() error
}
