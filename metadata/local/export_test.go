package local

import (
	"context"
	"runtime"
)

// WaitQueued waits until n changes wait for their turn.
func (s *Store) WaitQueued(ctx context.Context, n int) error {
	for ctx.Err() == nil {
		s.tree.mu.Lock()
		queued := len(s.tree.mu.queue)
		s.tree.mu.Unlock()
		if queued >= n {
			return nil
		}
		runtime.Gosched()
	}
	return ctx.Err()
}

// Decode reads a metadata file, for fuzzing.
func Decode(b []byte) (encodedAgain []byte, err error) {
	entries, err := decode("metadata", b)
	return encode(entries), err
}
