package embedded

import (
	"context"
	"errors"

	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/server"
)

// engine is a storage as a node uses it.
type engine interface {
	server.Replica
	// Done is closed when the storage has failed for good; Err tells why.
	Done() <-chan struct{}
	Err() error
	Close() error
}

// openEngine opens the storage in the node's folder and sees to it that it keeps
// a replica of every partition.
func openEngine(context.Context, Options, metadata.Cluster) (engine, error) {
	return nil, errors.ErrUnsupported
}
