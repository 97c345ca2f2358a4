package adminrpc

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/proto/adminpb"
)

// toStatus makes a gRPC error of an operator's, fromStatus the way back.
func toStatus(err error) error {
	code := codes.Unknown
	switch {
	case err == nil:
		return nil
	case errors.Is(err, admin.ErrRefused):
		code = codes.FailedPrecondition
	case errors.Is(err, admin.ErrInvalid):
		code = codes.InvalidArgument
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.Error(code, err.Error())
}

// remoteError is a server's error, as it said it.
type remoteError struct {
	message string
	cause   error
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.cause }

func fromStatus(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	switch s.Code() {
	case codes.FailedPrecondition:
		return &remoteError{s.Message(), admin.ErrRefused}
	case codes.InvalidArgument:
		return &remoteError{s.Message(), admin.ErrInvalid}
	case codes.Unknown:
		return &remoteError{s.Message(), err}
	case codes.DeadlineExceeded:
		return &remoteError{s.Message(), context.DeadlineExceeded}
	case codes.Canceled:
		return &remoteError{s.Message(), context.Canceled}
	}
	return wire.Plain(err)
}

func partitionsTo(all []txn.Partition) (out []int32) {
	for _, p := range all {
		out = append(out, int32(p))
	}
	return out
}

func partitionsFrom(all []int32) (out []txn.Partition) {
	for _, p := range all {
		out = append(out, txn.Partition(p))
	}
	return out
}

// each converts every element of a list; none makes an empty list, not nil, as it is
// where the operator is in the same process.
func each[A, B any](all []A, convert func(A) B) []B {
	out := make([]B, 0, len(all))
	for _, one := range all {
		out = append(out, convert(one))
	}
	return out
}

func statusTo(s admin.Status) *adminpb.StatusResponse {
	return &adminpb.StatusResponse{
		ClusterKey: s.ClusterKey, ClusterName: s.ClusterName, Partitions: int32(s.Partitions), Replicas: int32(s.Replicas),
		Storages: each(s.Storages, storageTo), States: each(s.States, stateTo),
	}
}

func statusFrom(s *adminpb.StatusResponse) admin.Status {
	return admin.Status{
		ClusterKey: s.GetClusterKey(), ClusterName: s.GetClusterName(), Partitions: int(s.GetPartitions()), Replicas: int(s.GetReplicas()),
		Storages: each(s.GetStorages(), storageFrom), States: each(s.GetStates(), stateFrom),
	}
}

func storageTo(s admin.StorageStatus) *adminpb.Storage {
	return &adminpb.Storage{
		Name: s.Name, Address: s.Address, Group: s.Group, State: string(s.State), Replicas: int32(s.Replicas), Problem: s.Problem,
	}
}

func storageFrom(s *adminpb.Storage) admin.StorageStatus {
	return admin.StorageStatus{
		Storage:  metadata.Storage{Name: s.GetName(), Address: s.GetAddress(), Group: s.GetGroup(), State: metadata.StorageState(s.GetState())},
		Replicas: int(s.GetReplicas()), Problem: s.GetProblem(),
	}
}

func stateTo(s admin.PartitionState) *adminpb.Partition {
	p := &adminpb.Partition{
		Partition: int32(s.Partition), Generation: s.Generation, Session: int64(s.Session), Opened: int64(s.Opened), Target: s.Target,
		Replicas: each(s.Replicas, replicaTo), Health: s.Health,
	}
	for _, r := range s.Recoveries {
		p.Recoveries = append(p.Recoveries, recoveryTo(r))
	}
	if l := s.Leader; l != nil {
		p.Leader = &adminpb.Leader{Open: l.Open, Session: int64(l.Session), HighWaterMark: int64(l.HighWaterMark), Problem: l.Problem}
	}
	return p
}

func stateFrom(p *adminpb.Partition) admin.PartitionState {
	s := admin.PartitionState{
		Partition: txn.Partition(p.GetPartition()), Generation: p.GetGeneration(), Session: txn.SessionID(p.GetSession()),
		Opened: txn.SessionID(p.GetOpened()), Target: p.GetTarget(), Replicas: each(p.GetReplicas(), replicaFrom), Health: p.GetHealth(),
	}
	for _, r := range p.GetRecoveries() {
		s.Recoveries = append(s.Recoveries, recoveryFrom(r))
	}
	if l := p.GetLeader(); l != nil {
		s.Leader = &admin.Leader{Open: l.GetOpen(), Session: txn.SessionID(l.GetSession()), HighWaterMark: txn.ID(l.GetHighWaterMark()), Problem: l.GetProblem()}
	}
	return s
}

func replicaTo(r admin.Replica) *adminpb.Replica {
	return &adminpb.Replica{
		Storage: r.Storage, Role: r.Role, Recorded: int64(r.Recorded), Problem: r.Problem, Known: r.Known, Incarnation: uint64(r.Incarnation),
		Promised: int64(r.Promised), Installed: int64(r.Installed), Last: int64(r.Last), LastStamp: int64(r.LastStamp), Committed: int64(r.Committed), Lag: r.Lag,
		Unfit: r.Unfit,
	}
}

func replicaFrom(r *adminpb.Replica) admin.Replica {
	return admin.Replica{
		Storage: r.GetStorage(), Role: r.GetRole(), Recorded: txn.SessionID(r.GetRecorded()), Problem: r.GetProblem(), Known: r.GetKnown(),
		Incarnation: session.Incarnation(r.GetIncarnation()), Promised: txn.SessionID(r.GetPromised()), Installed: txn.SessionID(r.GetInstalled()),
		Last: txn.ID(r.GetLast()), LastStamp: txn.SessionID(r.GetLastStamp()), Committed: txn.ID(r.GetCommitted()), Lag: r.GetLag(),
		Unfit: r.GetUnfit(),
	}
}

func recoveryTo(r session.Recovery) *adminpb.Recovery {
	return &adminpb.Recovery{
		AtUs: int64(r.At), Session: int64(r.Session), Kept: r.Kept, Last: int64(r.Last), LastStamp: int64(r.LastStamp),
		Installed: int64(r.Installed), Opened: int64(r.Opened), Gone: r.Gone,
	}
}

func recoveryFrom(r *adminpb.Recovery) session.Recovery {
	return session.Recovery{
		At: txn.Timestamp(r.GetAtUs()), Session: txn.SessionID(r.GetSession()), Kept: r.GetKept(), Last: txn.ID(r.GetLast()),
		LastStamp: txn.SessionID(r.GetLastStamp()), Installed: txn.SessionID(r.GetInstalled()), Opened: txn.SessionID(r.GetOpened()), Gone: r.GetGone(),
	}
}

func changeTo(c admin.Change) *adminpb.Change {
	return &adminpb.Change{Partition: int32(c.Partition), From: c.From, To: c.To, Next: c.Next, State: c.State}
}

func changeFrom(c *adminpb.Change) admin.Change {
	return admin.Change{Partition: txn.Partition(c.GetPartition()), From: c.GetFrom(), To: c.GetTo(), Next: c.GetNext(), State: c.GetState()}
}

func reportTo(r admin.Report) *adminpb.ForceRecoverResponse {
	return &adminpb.ForceRecoverResponse{
		Partition: int32(r.Partition), Done: r.Done, Recovery: recoveryTo(r.Recovery), Replicas: each(r.Replicas, replicaTo), Losses: r.Losses,
	}
}

func reportFrom(r *adminpb.ForceRecoverResponse) admin.Report {
	return admin.Report{
		Partition: txn.Partition(r.GetPartition()), Done: r.GetDone(), Recovery: recoveryFrom(r.GetRecovery()),
		Replicas: each(r.GetReplicas(), replicaFrom), Losses: r.GetLosses(),
	}
}
