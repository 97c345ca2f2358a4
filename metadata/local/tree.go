package local

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/waltz-log/waltz/metadata"
)

// entry is the value of one key. Values are never changed in place.
type entry struct {
	value   []byte
	version metadata.Version
	owner   *Store // session of an ephemeral key; nil: durable
}

// tree is the state that all sessions share. What readers see is on the disk
// already: a change is published after it was written.
type tree struct {
	file *file         // nil: memory only
	lock io.Closer     // of the folder; nil: memory only
	turn chan struct{} // held by the one that writes, without mu

	mu struct {
		sync.Mutex
		entries  map[string]entry // replaced, never changed, by the holder of turn
		queue    []*change        // waiting for the next write; one for each caller
		watches  map[*watch]struct{}
		sessions map[*Store]struct{}
		closed   bool
		broken   error // what the disk holds is unknown since this
	}
}

// change is one caller's request and, once done is set, its outcome.
type change struct {
	session *Store
	key     string
	value   []byte
	version metadata.Version
	remove  bool
	owner   *Store // ephemeral: any version is replaced

	done   bool
	result metadata.Version
	err    error
}

func (t *tree) get(ctx context.Context, s *Store, key string) ([]byte, metadata.Version, error) {
	if err := begin(ctx, key); err != nil {
		return nil, metadata.Absent, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usableLocked(s); err != nil {
		return nil, metadata.Absent, err
	}
	e, ok := t.mu.entries[key]
	if !ok {
		return nil, metadata.Absent, metadata.ErrNotFound
	}
	return slices.Clone(e.value), e.version, nil
}

func (t *tree) list(ctx context.Context, s *Store, key string) ([]string, error) {
	if err := begin(ctx, key); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usableLocked(s); err != nil {
		return nil, err
	}
	names := map[string]struct{}{}
	for k := range t.mu.entries {
		if below, ok := strings.CutPrefix(k, key+"/"); ok {
			name, _, _ := strings.Cut(below, "/")
			names[name] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// change queues a request and waits until somebody, perhaps itself, has written
// it. If ctx ends first the request is withdrawn, or its outcome unknown.
func (t *tree) change(ctx context.Context, s *Store, c *change) error {
	if err := begin(ctx, c.key); err != nil {
		return err
	}
	c.session = s
	if err := t.enqueue(c); err != nil {
		return err
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return t.withdraw(ctx, c)
	}
	defer func() { <-t.turn }()
	if !c.done { // written by holders of turn only
		t.writeQueued()
	}
	return c.err
}

func (t *tree) enqueue(c *change) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usableLocked(c.session); err != nil {
		return err
	}
	t.mu.queue = append(t.mu.queue, c)
	return nil
}

// withdraw takes back a request that nobody has begun to write.
func (t *tree) withdraw(ctx context.Context, c *change) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.mu.queue, c); i >= 0 {
		t.mu.queue = slices.Delete(t.mu.queue, i, i+1)
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", metadata.ErrUnknown, context.Cause(ctx))
}

// writeQueued decides all waiting requests in their order against the state
// that the earlier ones make, writes the result once, and publishes it. The
// caller holds turn.
func (t *tree) writeQueued() {
	queue, next := t.takeQueue()
	durable := false
	for _, c := range queue {
		if c.done = true; c.err == nil {
			durable = c.apply(next) || durable
		}
	}
	var err error
	if durable && t.file != nil {
		err = t.file.replace(next)
	}
	t.publish(next, queue, err)
}

// takeQueue returns what waits, those of ended sessions marked, and a copy of
// the tree to change.
func (t *tree) takeQueue() ([]*change, map[string]entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := t.mu.queue
	t.mu.queue = nil
	for _, c := range queue {
		c.err = t.usableLocked(c.session)
	}
	return queue, maps.Clone(t.mu.entries)
}

// apply makes one change if its version fits, and says whether the file must be
// written for it.
func (c *change) apply(entries map[string]entry) (durable bool) {
	old, ok := entries[c.key]
	if !ok {
		old.version = metadata.Absent
	}
	switch {
	case c.owner != nil:
		entries[c.key] = entry{value: c.value, version: old.version + 1, owner: c.owner}
		return ok && old.owner == nil
	case c.remove && !ok:
		c.err = metadata.ErrNotFound
	case old.version != c.version:
		c.err = metadata.ErrVersion
	case c.remove:
		delete(entries, c.key)
		return old.owner == nil
	default:
		c.result = old.version + 1
		entries[c.key] = entry{value: c.value, version: c.result, owner: old.owner}
		return old.owner == nil
	}
	return false
}

// publish shows the new state to readers and wakes those who watch, or tells
// the writers why there is none.
func (t *tree) publish(next map[string]entry, queue []*change, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.mu.entries = next
	} else if isUnknown(err) {
		t.mu.broken = err
	}
	for _, c := range queue {
		if c.err == nil && err != nil {
			c.err = err
		}
		if c.err == nil {
			t.notifyLocked(c.key)
		}
	}
}

// usableLocked reports why the session cannot be used any more.
func (t *tree) usableLocked(s *Store) error {
	if _, ok := t.mu.sessions[s]; !ok {
		return metadata.ErrClosed
	}
	return t.mu.broken
}

// begin checks what every call checks first.
func begin(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return metadata.CheckKey(key)
}
