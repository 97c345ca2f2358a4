package server

import (
	"context"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server/internal/partition"
)

// Append implements the contract. The handler's goroutine sends the answers; a
// second one receives, since only the handler's return can make it stop
// receiving.
func (s *service) Append(stream grpc.BidiStreamingServer[clientpb.AppendRequest, clientpb.AppendResponse]) error {
	a := newAnswers(s.o.StreamInFlightMax)
	received := make(chan error, 1)
	if err := s.goReceive(func() { received <- s.receive(stream, a) }); err != nil {
		return wire.Status(err)
	}
	return wire.Status(s.send(stream, a, received))
}

// goReceive runs the receiver of a stream. Once the server is being stopped there
// is no new one, since Stop may wait for the last of them already.
func (s *service) goReceive(receive func()) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mu.stopped {
		return errStopping()
	}
	s.receivers.Go(receive)
	return nil
}

// send sends answers as they come, until the client has been answered all and
// has no more to send, or the server stops.
func (s *service) send(stream grpc.ServerStream, a *answers, received chan error) error {
	for {
		select {
		case <-a.wake:
		case err := <-received:
			if err != nil {
				return err
			}
			received = nil
		case <-s.running.Done():
			return errors.Join(a.send(stream), errStopping())
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
		if err := a.send(stream); err != nil {
			return err
		}
		if received == nil && a.idle() {
			return nil
		}
	}
}

// receive hands groups to their partitions until the client has no more or the
// stream ends.
func (s *service) receive(stream grpc.ServerStream, a *answers) error {
	ctx := stream.Context()
	for {
		g := wire.NewAppendGroup()
		err := stream.RecvMsg(g)
		if err == nil {
			err = s.checkCluster(g.ClusterKey)
		}
		if err == nil {
			err = a.reserve(ctx, len(g.Attempts))
		}
		if err == nil {
			err = s.submit(ctx, g, a)
		}
		g.Release()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// submit splits a group by partitions, which keeps each one's order. It waits
// where a partition's inbox is full; so does the client behind it.
func (s *service) submit(ctx context.Context, g *wire.AppendGroup, a *answers) error {
	if !slices.IsSortedFunc(g.Attempts, byPartition) {
		slices.SortStableFunc(g.Attempts, byPartition)
	}
	for rest := g.Attempts; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Partition == rest[0].Partition {
			n++
		}
		if err := s.submitTo(ctx, rest[0].Partition, partition.Group{From: a, Attempts: rest[:n:n], Owner: g}); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func byPartition(a, b wire.Attempt) int { return int(a.Partition) - int(b.Partition) }

func (s *service) submitTo(ctx context.Context, to txn.Partition, group partition.Group) error {
	p, _, err := s.partition(to)
	var why *wire.Error
	if errors.As(err, &why) {
		for i := range group.Attempts {
			group.From.Refused(group.Attempts[i].Seq, *why)
		}
		return nil
	}
	group.Owner.Retain()
	return p.Submit(ctx, group)
}
