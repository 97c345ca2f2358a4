// Package local is a metadata store without other machines: a small file for
// the embedded mode, or memory for tests.
//
// The whole tree is one file, replaced as a whole: written beside it, synced,
// renamed over it, and the folder synced. A crash between any two of these
// leaves the old or the new tree, never a mixture. Changes that come at the
// same time share one replacement: whoever gets the turn writes for all that
// wait, so that opening 64 partitions takes a handful of writes.
//
// The file is authoritative. One process has it at a time (a lock file). A
// write that fails for want of space is refused and changes nothing; after a
// failed sync or rename nobody knows what the disk holds, so the store stops
// with [metadata.ErrUnknown] until it is opened anew.
//
// Ephemeral keys live in memory, for as long as the session that set them.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/metadata"
)

// Options says where the file is.
type Options struct {
	FS  vfs.FS // default: the operating system's
	Dir string // folder, made if need be; required
}

// LockedError reports that another process, or another Open of this one, has
// the folder.
type LockedError struct {
	Dir string
	Err error
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("metadata folder %s is in use: %v", e.Dir, e.Err)
}

// Unwrap returns the cause.
func (e *LockedError) Unwrap() error { return e.Err }

// Store is one session with a tree. It implements [metadata.Store].
type Store struct {
	tree *tree
	root bool // closing it closes the tree
}

var _ metadata.Store = (*Store)(nil)

// Open opens the file in a folder, or begins with an empty tree if there is
// none. A *[LockedError] means that somebody else has it, a *[CorruptError]
// that it is damaged.
func Open(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Dir == "" {
		return nil, errors.New("open local metadata: the folder is not set")
	}
	if err := makeDir(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("open local metadata: %w", err)
	}
	lock, err := o.FS.Lock(path.Join(o.Dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, &LockedError{Dir: o.Dir, Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("open local metadata: lock folder %s: %w", o.Dir, err)
	}
	f := &file{fs: o.FS, dir: o.Dir}
	entries, err := f.load()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open local metadata: %w", err), lock.Close())
	}
	return newStore(entries, f, lock), nil
}

// NewMemory returns a store that forgets everything with the process.
func NewMemory() *Store { return newStore(map[string]entry{}, nil, nil) }

func newStore(entries map[string]entry, f *file, lock io.Closer) *Store {
	t := &tree{file: f, lock: lock, turn: make(chan struct{}, 1)}
	t.mu.entries = entries
	t.mu.watches = map[*watch]struct{}{}
	t.mu.sessions = map[*Store]struct{}{}
	s := &Store{tree: t, root: true}
	t.mu.sessions[s] = struct{}{}
	return s
}

// Session returns another session with the same tree: its ephemeral keys vanish
// when it is closed. Several servers in one process take one each. Closing the
// store that Open or NewMemory returned ends all of them.
func (s *Store) Session() *Store {
	s.tree.mu.Lock()
	defer s.tree.mu.Unlock()
	n := &Store{tree: s.tree}
	if !s.tree.mu.closed {
		s.tree.mu.sessions[n] = struct{}{}
	}
	return n
}

// Get implements [metadata.Store].
func (s *Store) Get(ctx context.Context, key string) ([]byte, metadata.Version, error) {
	value, version, err := s.tree.get(ctx, s, key)
	return value, version, wrap("get", key, err)
}

// Set implements [metadata.Store].
func (s *Store) Set(ctx context.Context, key string, value []byte, version metadata.Version) (metadata.Version, error) {
	c := &change{key: key, value: append([]byte{}, value...), version: version}
	err := s.tree.change(ctx, s, c)
	return c.result, wrap("set", key, err)
}

// Delete implements [metadata.Store].
func (s *Store) Delete(ctx context.Context, key string, version metadata.Version) error {
	return wrap("delete", key, s.tree.change(ctx, s, &change{key: key, version: version, remove: true}))
}

// SetEphemeral implements [metadata.Store].
func (s *Store) SetEphemeral(ctx context.Context, key string, value []byte) error {
	c := &change{key: key, value: append([]byte{}, value...), owner: s}
	return wrap("set", key, s.tree.change(ctx, s, c))
}

// List implements [metadata.Store].
func (s *Store) List(ctx context.Context, key string) ([]string, error) {
	names, err := s.tree.list(ctx, s, key)
	return names, wrap("list", key, err)
}

// Watch implements [metadata.Store].
func (s *Store) Watch(ctx context.Context, key string) (<-chan struct{}, error) {
	c, err := s.tree.watch(ctx, s, key)
	return c, wrap("watch", key, err)
}

// Close ends the session; calling it again does nothing.
func (s *Store) Close() error { return s.tree.close(s) }

func wrap(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return &metadata.KeyError{Op: op, Key: key, Err: err}
}
