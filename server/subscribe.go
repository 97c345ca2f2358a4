package server

import (
	"context"
	"math"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server/internal/feed"
)

// headersMax is how many headers a subscription may ask for.
const headersMax = 1 << 16

// Subscribe implements the contract.
func (s *service) Subscribe(r *clientpb.SubscribeRequest, stream grpc.ServerStreamingServer[clientpb.SubscribeResponse]) error {
	o, err := feedOptions(r)
	if err == nil {
		err = s.checkCluster(r.GetClusterKey())
	}
	if err != nil {
		return wire.Status(err)
	}
	p, tail, err := s.partition(txn.Partition(r.GetPartition()))
	if err != nil {
		return wire.Status(err)
	}
	if err := s.admit(); err != nil {
		return wire.Status(err)
	}
	defer s.dismiss()
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(s.running, cancel)()
	err = tail.Subscribe(p, p, o).Run(ctx, func(m *wire.Fed) error { return stream.SendMsg(m) })
	if ctx.Err() != nil && stream.Context().Err() == nil {
		err = errStopping()
	}
	return wire.Status(err)
}

// admit counts a subscriber, or refuses it.
func (s *Server) admit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.subscribers >= s.o.SubscribersMax {
		return wire.Refuse(wire.Unavailable, "there are %d subscribers already, the most that are allowed", s.o.SubscribersMax)
	}
	s.mu.subscribers++
	return nil
}

func (s *Server) dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.subscribers--
}

func feedOptions(r *clientpb.SubscribeRequest) (feed.Options, error) {
	o := feed.Options{HighWaterMark: txn.ID(r.GetHighWaterMark())}
	switch {
	case o.HighWaterMark < txn.None:
		return o, wire.Refuse(wire.Invalid, "high-water mark %d is below %d", o.HighWaterMark, txn.None)
	case o.HighWaterMark == math.MaxInt64:
		return o, wire.Refuse(wire.OutOfRange, "no transaction is above high-water mark %d", o.HighWaterMark)
	case len(r.GetHeaders()) > headersMax:
		return o, wire.Refuse(wire.Invalid, "%d headers, at most %d are allowed", len(r.GetHeaders()), headersMax)
	}
	for _, h := range r.GetHeaders() {
		o.Headers = append(o.Headers, txn.Header(h))
	}
	switch r.GetData() {
	case clientpb.DataMode_DATA_MODE_ALL:
		o.Mode = feed.All
	case clientpb.DataMode_DATA_MODE_NONE:
		o.Mode = feed.Headers
	case clientpb.DataMode_DATA_MODE_FILTERED:
		o.Mode = feed.Filtered
	default:
		return o, wire.Refuse(wire.Invalid, "unknown data mode %d", r.GetData())
	}
	return o, nil
}
