package server

import (
	"context"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server/internal/partition"
)

// service is the contract's side of a Server, kept off its public methods.
type service struct {
	clientpb.UnimplementedWaltzServer
	*Server
}

// Describe implements the contract.
func (s *service) Describe(context.Context, *clientpb.DescribeRequest) (*clientpb.DescribeResponse, error) {
	return &clientpb.DescribeResponse{
		ClusterKey: s.o.ClusterKey, ClusterName: s.o.ClusterName, Partitions: int32(s.o.Partitions),
		Limits: &clientpb.Limits{
			DataBytesMax: int64(s.o.DataBytesMax), LocksMax: int32(s.o.LocksMax), GroupBytesMax: int64(s.o.GroupBytesMax),
		},
	}, nil
}

// HighWaterMark implements the contract.
func (s *service) HighWaterMark(ctx context.Context, r *clientpb.HighWaterMarkRequest) (*clientpb.HighWaterMarkResponse, error) {
	p, err := s.of(r.GetClusterKey(), r.GetPartition())
	if err != nil {
		return nil, wire.Status(err)
	}
	hwm, err := p.HighWaterMark(ctx)
	if err != nil {
		return nil, wire.Status(err)
	}
	return &clientpb.HighWaterMarkResponse{HighWaterMark: int64(hwm)}, nil
}

// At implements the contract.
func (s *service) At(ctx context.Context, r *clientpb.AtRequest) (*clientpb.AtResponse, error) {
	p, err := s.of(r.GetClusterKey(), r.GetPartition())
	if err != nil {
		return nil, wire.Status(err)
	}
	id, err := p.At(ctx, txn.Timestamp(r.GetTimeUs()))
	if err != nil {
		return nil, wire.Status(err)
	}
	return &clientpb.AtResponse{TransactionId: int64(id)}, nil
}

// of returns the partition of a request, or why it is refused.
func (s *service) of(clusterKey string, p int32) (*partition.Partition, error) {
	if err := s.checkCluster(clusterKey); err != nil {
		return nil, err
	}
	owned, _, err := s.partition(txn.Partition(p))
	return owned, err
}

// health answers load balancers and supervisors: serving means that every
// partition is open, but for those that damage keeps closed, of which metrics
// tell: the others need clients, and a restart mends nothing. Watch is left out;
// clients take that for healthy.
type health struct {
	healthpb.UnimplementedHealthServer
	server *Server
}

// Check implements gRPC's health protocol.
func (h *health) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	status := healthpb.HealthCheckResponse_SERVING
	if !h.server.serving() {
		status = healthpb.HealthCheckResponse_NOT_SERVING
	}
	return &healthpb.HealthCheckResponse{Status: status}, nil
}
