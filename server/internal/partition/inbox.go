package partition

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/waltz-log/waltz/internal/wire"
)

// inbox holds the groups that wait for the owner. It is bounded in bytes; who
// finds it full waits, first come, first served (I9). While it is shut, it
// refuses what comes.
type inbox struct {
	bytesMax int64
	room     *semaphore.Weighted
	wake     chan<- struct{}

	mu     sync.Mutex
	shut   *wire.Error // why it refuses; nil: it takes
	groups []Group
	spare  []Group // the slice that the owner took last
	bytes  int64   // taken room
}

func newInbox(bytesMax int, wake chan<- struct{}, why *wire.Error) *inbox {
	return &inbox{bytesMax: int64(bytesMax), room: semaphore.NewWeighted(int64(bytesMax)), wake: wake, shut: why}
}

// put adds a group when there is room and wakes the owner, or returns why it
// refuses.
func (b *inbox) put(ctx context.Context, g Group) (*wire.Error, error) {
	g.size(b.bytesMax)
	if err := b.room.Acquire(ctx, g.weight); err != nil {
		return nil, err
	}
	why := b.add(g)
	if why != nil {
		b.room.Release(g.weight)
	}
	return why, nil
}

// add puts a group in without waiting.
func (b *inbox) add(g Group) *wire.Error {
	b.mu.Lock()
	if b.shut != nil {
		defer b.mu.Unlock()
		return b.shut
	}
	b.groups = append(b.groups, g)
	b.bytes += g.weight
	b.mu.Unlock()
	signal(b.wake)
	return nil
}

// take returns everything that waits; the slice is good until the next take.
// Only the owner may take.
func (b *inbox) take() []Group {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.groups
	clear(b.spare)
	b.groups, b.spare = b.spare[:0], got
	return got
}

// done gives back a group that was taken, and its room.
func (b *inbox) done(g *Group) {
	b.mu.Lock()
	b.bytes -= g.weight
	b.mu.Unlock()
	b.room.Release(g.weight)
	g.release()
}

// close refuses what waits and what comes, until open. Anybody may, while the
// owner is still busy with what it took; so it leaves that alone.
func (b *inbox) close(why *wire.Error) {
	b.mu.Lock()
	b.shut = why
	waiting := b.groups
	b.groups = nil
	b.mu.Unlock()
	for _, g := range waiting {
		g.refuse(*why)
		b.done(&g)
	}
}

func (b *inbox) open() {
	b.mu.Lock()
	b.shut = nil
	b.mu.Unlock()
}

func (b *inbox) waiting() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// signal makes a channel of capacity one readable.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
