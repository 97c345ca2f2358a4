package adminrpc

import (
	"context"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/proto/adminpb"
)

// Register serves an operator.
func Register(r grpc.ServiceRegistrar, o admin.Operator) {
	adminpb.RegisterAdminServer(r, &service{o: o})
}

type service struct {
	adminpb.UnimplementedAdminServer
	o admin.Operator
}

// Status implements the contract.
func (s *service) Status(ctx context.Context, r *adminpb.StatusRequest) (*adminpb.StatusResponse, error) {
	st, err := s.o.Status(ctx, partitionsFrom(r.GetPartitions()))
	return statusTo(st), toStatus(err)
}

// PutStorage implements the contract.
func (s *service) PutStorage(ctx context.Context, r *adminpb.PutStorageRequest) (*adminpb.PutStorageResponse, error) {
	err := s.o.PutStorage(ctx, metadata.Storage{Name: r.GetName(), Address: r.GetAddress(), Group: r.GetGroup()}, r.GetUpdate())
	return &adminpb.PutStorageResponse{}, toStatus(err)
}

// DrainStorage implements the contract.
func (s *service) DrainStorage(ctx context.Context, r *adminpb.DrainStorageRequest) (*adminpb.DrainStorageResponse, error) {
	n, err := s.o.DrainStorage(ctx, r.GetName(), r.GetUndo())
	return &adminpb.DrainStorageResponse{Replicas: int32(n)}, toStatus(err)
}

// RemoveStorage implements the contract.
func (s *service) RemoveStorage(ctx context.Context, r *adminpb.RemoveStorageRequest) (*adminpb.RemoveStorageResponse, error) {
	return &adminpb.RemoveStorageResponse{}, toStatus(s.o.RemoveStorage(ctx, r.GetName()))
}

// Move implements the contract.
func (s *service) Move(ctx context.Context, r *adminpb.MoveRequest) (*adminpb.MoveResponse, error) {
	change, warnings, err := s.o.Move(ctx, txn.Partition(r.GetPartition()), r.GetTo())
	return &adminpb.MoveResponse{Change: changeTo(change), Warnings: warnings}, toStatus(err)
}

// Rebalance implements the contract.
func (s *service) Rebalance(ctx context.Context, r *adminpb.RebalanceRequest) (*adminpb.RebalanceResponse, error) {
	plan, err := s.o.Rebalance(ctx, admin.Rebalance{DryRun: r.GetDryRun(), Replicas: int(r.GetReplicas()), AtOnce: int(r.GetAtOnce())})
	return &adminpb.RebalanceResponse{Changes: each(plan.Changes, changeTo), UnderWay: int32(plan.UnderWay)}, toStatus(err)
}

// ForceRecover implements the contract. What would be done comes as an answer, since
// a refusal has no room for it.
func (s *service) ForceRecover(ctx context.Context, r *adminpb.ForceRecoverRequest) (*adminpb.ForceRecoverResponse, error) {
	report, err := s.o.ForceRecover(ctx, txn.Partition(r.GetPartition()), admin.Recover{Accept: r.GetAcceptDataLoss(), Keep: r.GetKeep(), Lost: r.GetLost()})
	if err != nil && report.Recovery.Kept != "" && !r.GetAcceptDataLoss() {
		err = nil
	}
	return reportTo(report), toStatus(err)
}
