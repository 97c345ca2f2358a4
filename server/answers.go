package server

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/wire"
)

// answers collects what partitions answer to one append stream. It is bounded by
// what the stream may have unanswered: the receiver reserves before it hands
// over, and waits while too much is reserved (I9), also when it is the client
// that does not take its answers.
type answers struct {
	max  int
	wake chan struct{} // there is something to send, or something has ended

	mu         sync.Mutex
	collecting *wire.Answers
	reserved   int
	room       chan struct{} // closed when something was sent; nil: nobody waits

	sending *wire.Answers // the sender's
}

func newAnswers(unansweredMax int) *answers {
	return &answers{max: unansweredMax, wake: make(chan struct{}, 1), collecting: &wire.Answers{}, sending: &wire.Answers{}}
}

// Committed implements partition.Answerer.
func (a *answers) Committed(c wire.Committed) {
	a.mu.Lock()
	a.collecting.Commit(c)
	a.mu.Unlock()
	a.signal()
}

// Refused implements partition.Answerer.
func (a *answers) Refused(seq uint64, why wire.Error) {
	a.mu.Lock()
	a.collecting.Refused = append(a.collecting.Refused, wire.Refused{Seq: seq, Error: why})
	a.mu.Unlock()
	a.signal()
}

func (a *answers) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// reserve makes room for n more answers; a group that is larger than all the
// room gets all of it.
func (a *answers) reserve(ctx context.Context, n int) error {
	for {
		a.mu.Lock()
		if a.reserved == 0 || a.reserved+n <= a.max {
			a.reserved += n
			a.mu.Unlock()
			return nil
		}
		if a.room == nil {
			a.room = make(chan struct{})
		}
		room := a.room
		a.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// idle reports whether everything was answered and sent.
func (a *answers) idle() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reserved == 0
}

// send sends what was collected, in one message. It may wait for the client.
func (a *answers) send(stream grpc.ServerStream) error {
	a.mu.Lock()
	a.collecting, a.sending = a.sending, a.collecting
	a.mu.Unlock()
	n := a.sending.Len()
	if n == 0 {
		return nil
	}
	err := stream.SendMsg(a.sending)
	a.sending.Reset()
	a.mu.Lock()
	a.reserved -= n
	if a.room != nil {
		close(a.room)
		a.room = nil
	}
	a.mu.Unlock()
	return err
}
