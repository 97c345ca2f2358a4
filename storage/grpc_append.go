package storage

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// Append implements the contract. The handler's goroutine sends the answers; a
// second one receives, since only the handler's return can make it stop receiving.
// Where the storage has no room the receiver waits, and behind it, by gRPC's flow
// control, the server (I9).
func (s *service) Append(stream grpc.BidiStreamingServer[storagepb.AppendRequest, storagepb.AppendResponse]) error {
	st, err := s.of(stream.Context())
	if err != nil {
		return status(err)
	}
	a := &appendStream{storage: st, wake: make(chan struct{}, 1), lanes: map[txn.Partition]*lane{}}
	received := make(chan error, 1)
	if err := s.goReceive(func() { received <- a.receive(stream, wire.NewStorageGroup(s.pool)) }); err != nil {
		return status(err)
	}
	return status(a.send(s.running, stream, received))
}

// appendStream is what one server appends.
type appendStream struct {
	storage *Storage
	wake    chan struct{}           // there is something to send
	lanes   map[txn.Partition]*lane // the receiver's

	mu         sync.Mutex
	answered   []*lane // those with something to send
	failed     []wire.StorageFailed
	unanswered int

	sending wire.StorageAnswers // the sender's
	full    bool                // the sender's: what the server was told
}

// lane is one partition's part of a stream.
type lane struct {
	stream    *appendStream
	partition txn.Partition
	done      func(session.Appended, error) // one closure for all appends

	// Guarded by appendStream.mu.
	seqs   []uint64 // of appends that wait for the disk, from head on
	head   int
	answer wire.StorageAppended
	listed bool // in appendStream.answered
}

func (a *appendStream) lane(p txn.Partition) *lane {
	l := a.lanes[p]
	if l == nil {
		l = &lane{stream: a, partition: p}
		l.done = l.durable
		a.lanes[p] = l
	}
	return l
}

// receive hands appends to the storage until the server has no more.
func (a *appendStream) receive(stream grpc.ServerStream, g *wire.StorageGroup) error {
	defer g.Release()
	for {
		switch err := stream.RecvMsg(g); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		for i := range g.Appends {
			if err := a.append(stream.Context(), g.FirstSeq+uint64(i), &g.Appends[i]); err != nil {
				return err
			}
		}
		g.Release()
	}
}

// append hands one over; the error is the stream's.
func (a *appendStream) append(ctx context.Context, seq uint64, m *session.Append) error {
	l := a.lane(m.Partition)
	l.push(seq) // before the storage can answer
	err := a.storage.Append(ctx, *m, l.done)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.takeBack(seq, err)
	return nil
}

func (l *lane) push(seq uint64) {
	l.stream.mu.Lock()
	defer l.stream.mu.Unlock()
	if 2*l.head >= len(l.seqs) { // also under a load that never lets it run empty (I9)
		l.seqs, l.head = l.seqs[:copy(l.seqs, l.seqs[l.head:])], 0
	}
	l.seqs = append(l.seqs, seq)
	l.stream.unanswered++
}

// takeBack answers an append that the storage did not take, which is the last one
// that was pushed.
func (l *lane) takeBack(seq uint64, err error) {
	a := l.stream
	a.mu.Lock()
	l.seqs = l.seqs[:len(l.seqs)-1]
	l.failLocked(seq, err)
	a.mu.Unlock()
	a.signal()
}

func (l *lane) failLocked(seq uint64, err error) {
	l.stream.failed = append(l.stream.failed, wire.StorageFailed{Partition: l.partition, Seq: seq, Error: failed(err)})
	l.stream.unanswered--
}

// durable is the storage's answer to the oldest append of the lane that waits, on
// the storage's goroutine.
func (l *lane) durable(done session.Appended, err error) {
	a := l.stream
	a.mu.Lock()
	seq := l.seqs[l.head]
	l.head++
	if err != nil {
		l.failLocked(seq, err)
	} else {
		a.unanswered--
		l.answer = wire.StorageAppended{Partition: l.partition, Replica: done.Replica, Last: done.Last, Seq: seq}
		if !l.listed {
			l.listed = true
			a.answered = append(a.answered, l)
		}
	}
	a.mu.Unlock()
	a.signal()
}

func (a *appendStream) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// fullEvery is how often the sender looks whether the disk has become full under
// what waits for it, of which no answer would tell.
const fullEvery = 250 * time.Millisecond

// send sends answers as they come, until the server has no more appends and all
// are answered, or the storage is closed.
func (a *appendStream) send(running context.Context, stream grpc.ServerStream, received <-chan error) error {
	tick := time.NewTicker(fullEvery)
	defer tick.Stop()
	for {
		select {
		case <-a.wake:
		case <-tick.C:
			a.lookFull()
		case err := <-received:
			if err != nil {
				return err
			}
			received = nil
		case <-running.Done():
			return ErrClosed
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		open, err := a.sendCollected(stream)
		if err != nil {
			return err
		}
		if received == nil && open == 0 {
			return nil
		}
	}
}

// lookFull tells the server when the storage has become full, and when it has room
// again.
func (a *appendStream) lookFull() {
	err := a.storage.Full()
	if (err != nil) == a.full {
		return
	}
	a.full = err != nil
	message := ""
	if err != nil {
		message = err.Error()
	}
	a.sending.Full = &message
}

// sendCollected sends what was answered, in one message, and returns how many
// appends are unanswered. It may wait for the server.
func (a *appendStream) sendCollected(stream grpc.ServerStream) (unanswered int, err error) {
	a.mu.Lock()
	for i, l := range a.answered {
		a.sending.Appended = append(a.sending.Appended, l.answer)
		l.listed = false
		a.answered[i] = nil
	}
	a.answered = a.answered[:0]
	a.sending.Failed, a.failed = a.failed, a.sending.Failed
	unanswered = a.unanswered
	a.mu.Unlock()
	if a.sending.Empty() {
		return unanswered, nil
	}
	err = stream.SendMsg(&a.sending)
	a.sending.Reset()
	return unanswered, err
}
