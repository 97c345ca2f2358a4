// Package metadata is what a cluster remembers: its identity, who is alive,
// which server owns which partition, and the state of every partition's store
// session. It is written only when something changes or fails, never per
// transaction.
//
// A [Store] keeps small values under slash-separated keys, each with a version,
// changed by compare-and-set only. The types and functions of this package give
// the values their meaning; implementations ([metadata/local], ZooKeeper) know
// nothing of it and must all pass [metadata/metadatatest].
package metadata

import (
	"context"
	"errors"
	"fmt"
)

// Version counts the changes of one key. Absent is the version of a key that is
// not there: comparing with it creates the key.
type Version int64

// Absent is the version of a key that does not exist.
const Absent Version = -1

var (
	// ErrNotFound: the key does not exist.
	ErrNotFound = errors.New("metadata key not found")
	// ErrVersion: somebody else changed the key since it was read.
	ErrVersion = errors.New("metadata key has another version")
	// ErrUnknown: the connection was lost before the answer came; the change may
	// have been made. Read again to find out.
	ErrUnknown = errors.New("metadata change has an unknown outcome")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("metadata store is closed")
)

// Store is a small, strongly consistent key-value tree. All methods may be
// called concurrently; returned slices belong to the caller.
type Store interface {
	// Get reads a key: ErrNotFound if it is not there.
	Get(ctx context.Context, key string) ([]byte, Version, error)
	// Set changes a key that still has the given version (Absent: creates it) and
	// returns its new version. The change is durable on return. ErrVersion,
	// ErrUnknown.
	Set(ctx context.Context, key string, value []byte, version Version) (Version, error)
	// Delete removes a key that still has the given version. ErrNotFound,
	// ErrVersion, ErrUnknown.
	Delete(ctx context.Context, key string, version Version) error
	// List returns the names directly below a key, sorted; none if it is not there.
	List(ctx context.Context, key string) ([]string, error)
	// Watch returns a channel that receives after the key, or a name directly
	// below it, may have changed: at least once after the last change, perhaps
	// repeatedly, perhaps without one. Read again on every receive. The channel is
	// closed when ctx ends or the store is closed.
	Watch(ctx context.Context, key string) (<-chan struct{}, error)
	// SetEphemeral creates or replaces a key that vanishes when this process's
	// session with the store ends. The store keeps it there across reconnects.
	SetEphemeral(ctx context.Context, key string, value []byte) error
	// Close ends the session; ephemeral keys vanish.
	Close() error
}

// KeyError adds to an error which key it is about.
type KeyError struct {
	Op  string
	Key string
	Err error
}

func (e *KeyError) Error() string { return fmt.Sprintf("metadata %s %s: %v", e.Op, e.Key, e.Err) }

// Unwrap returns the cause.
func (e *KeyError) Unwrap() error { return e.Err }

// IsStoreError reports whether an error is a store's, and not one of what was to be
// stored.
func IsStoreError(err error) bool {
	_, ok := errors.AsType[*KeyError](err)
	return ok
}
