package local

import (
	"context"
	"errors"
	"maps"
	"strings"
)

// watch is one caller's wish to hear of a key. Its channel holds one signal: a
// caller that has not read the last one yet will see the new state anyway.
type watch struct {
	session *Store
	key     string
	signal  chan struct{}
	stop    func() bool // forgets the end of the caller's context
}

func (t *tree) watch(ctx context.Context, s *Store, key string) (<-chan struct{}, error) {
	if err := begin(ctx, key); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usableLocked(s); err != nil {
		return nil, err
	}
	w := &watch{session: s, key: key, signal: make(chan struct{}, 1)}
	t.mu.watches[w] = struct{}{}
	w.stop = context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.endWatchLocked(w)
	})
	return w.signal, nil
}

func (t *tree) endWatchLocked(w *watch) {
	if _, ok := t.mu.watches[w]; !ok {
		return
	}
	delete(t.mu.watches, w)
	w.stop()
	close(w.signal)
}

// notifyLocked wakes those who watch a key or its parent.
func (t *tree) notifyLocked(key string) {
	parent := ""
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		parent = key[:i]
	}
	for w := range t.mu.watches {
		if w.key != key && w.key != parent && !strings.HasPrefix(key, w.key+"/") {
			continue
		}
		select {
		case w.signal <- struct{}{}:
		default:
		}
	}
}

// close ends a session: its ephemeral keys vanish, its watches end. The root
// session takes all others with it and gives the folder back.
func (t *tree) close(s *Store) error {
	t.turn <- struct{}{} // no write is under way
	defer func() { <-t.turn }()
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.mu.sessions[s]; !ok {
		return nil
	}
	t.endSessionLocked(s)
	if !s.root {
		return nil
	}
	for other := range maps.Clone(t.mu.sessions) {
		t.endSessionLocked(other)
	}
	t.mu.closed = true
	if t.lock == nil {
		return nil
	}
	return errors.Join(t.lock.Close())
}

func (t *tree) endSessionLocked(s *Store) {
	delete(t.mu.sessions, s)
	next := maps.Clone(t.mu.entries)
	for key, e := range t.mu.entries {
		if e.owner == s {
			delete(next, key)
			t.notifyLocked(key)
		}
	}
	t.mu.entries = next
	for w := range maps.Clone(t.mu.watches) {
		if w.session == s {
			t.endWatchLocked(w)
		}
	}
}
