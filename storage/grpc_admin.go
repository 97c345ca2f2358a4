package storage

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// adminService is what operators call.
type adminService struct {
	storagepb.UnimplementedStorageAdminServer
	*Host
}

// ListReplicas implements the contract.
func (s *adminService) ListReplicas(ctx context.Context, r *storagepb.ListReplicasRequest) (*storagepb.ListReplicasResponse, error) {
	st, err := s.ofAny(ctx)
	if err != nil {
		return nil, status(err)
	}
	var only []txn.Partition
	for _, p := range r.GetPartitions() {
		only = append(only, txn.Partition(p))
	}
	all, err := st.List(ctx, only...)
	if err != nil {
		return nil, status(err)
	}
	answer := &storagepb.ListReplicasResponse{}
	for _, d := range all {
		answer.Replicas = append(answer.Replicas, replicaProto(&d))
	}
	return answer, nil
}

func replicaProto(d *Description) *storagepb.Replica {
	r := &storagepb.Replica{
		Partition: int32(d.Partition), Incarnation: uint64(d.Promise.Replica.Incarnation),
		Promised: int64(d.Promise.Promised), Installed: int64(d.Promise.Installed),
		Last: int64(d.Promise.Last), Committed: int64(d.Promise.Committed), Map: stampStarts(d.Promise.Map),
		Service: storagepb.ReplicaService(d.Service), Segments: int64(d.Segments), Bytes: d.Bytes,
		NewestUs: int64(d.Newest), Damage: damages(d.Damage),
	}
	if d.OldestReadable {
		r.OldestUs = int64(d.Oldest)
	}
	if d.Closed != nil {
		r.Closed = damageOf(d.Closed).Proto()
	}
	return r
}

func damages(all []*DamagedError) []*storagepb.Damage {
	var out []*storagepb.Damage
	for _, d := range all {
		out = append(out, damageOf(d).Proto())
	}
	return out
}

// CreateReplica implements the contract.
func (s *adminService) CreateReplica(ctx context.Context, r *storagepb.CreateReplicaRequest) (*storagepb.CreateReplicaResponse, error) {
	st, err := s.of(ctx)
	if err != nil {
		return nil, status(err)
	}
	self, err := st.CreateReplica(ctx, txn.Partition(r.GetPartition()))
	return &storagepb.CreateReplicaResponse{Incarnation: uint64(self.Incarnation)}, status(err)
}

// RemoveReplica implements the contract.
func (s *adminService) RemoveReplica(ctx context.Context, r *storagepb.RemoveReplicaRequest) (*storagepb.RemoveReplicaResponse, error) {
	st, err := s.ofAny(ctx)
	if err == nil {
		err = st.RemoveReplica(ctx, Remove{
			Partition: txn.Partition(r.GetPartition()), Incarnation: session.Incarnation(r.GetIncarnation()), Keep: r.GetKeep(),
		})
	}
	return &storagepb.RemoveReplicaResponse{}, status(err)
}

// SetAvailable implements the contract.
func (s *adminService) SetAvailable(ctx context.Context, r *storagepb.SetAvailableRequest) (*storagepb.SetAvailableResponse, error) {
	st, err := s.ofAny(ctx)
	if err == nil {
		err = st.SetAvailable(ctx, txn.Partition(r.GetPartition()), r.GetAvailable())
	}
	return &storagepb.SetAvailableResponse{}, status(err)
}

// ResetReplica implements the contract.
func (s *adminService) ResetReplica(ctx context.Context, r *storagepb.ResetReplicaRequest) (*storagepb.ResetReplicaResponse, error) {
	st, err := s.ofAny(ctx)
	if err != nil {
		return nil, status(err)
	}
	done, err := st.Reset(ctx, Reset{
		Partition: txn.Partition(r.GetPartition()), Incarnation: session.Incarnation(r.GetIncarnation()), Keep: r.GetKeep(),
	})
	return &storagepb.ResetReplicaResponse{Incarnation: uint64(done.Replica.Incarnation), Last: int64(done.Last)}, status(err)
}

// Checksum implements the contract.
func (s *adminService) Checksum(ctx context.Context, r *storagepb.ChecksumRequest) (*storagepb.ChecksumResponse, error) {
	st, err := s.ofAny(ctx)
	if err == nil {
		err = s.admitRead(ctx)
	}
	if err != nil {
		return nil, status(err)
	}
	defer s.dismissRead()
	d, err := st.Checksum(ctx, txn.Partition(r.GetPartition()), txn.ID(r.GetFirst()), txn.ID(r.GetLast()))
	return &storagepb.ChecksumResponse{Sum: d.Sum[:], First: int64(d.First), Last: int64(d.Last), Records: d.Records, Bytes: d.Bytes}, status(err)
}

// Scrub implements the contract.
func (s *adminService) Scrub(ctx context.Context, _ *storagepb.ScrubRequest) (*storagepb.ScrubResponse, error) {
	st, err := s.ofAny(ctx)
	if err == nil {
		err = s.admitRead(ctx)
	}
	if err != nil {
		return nil, status(err)
	}
	defer s.dismissRead()
	report, err := st.Scrub(ctx)
	return &storagepb.ScrubResponse{Records: report.Records, Bytes: report.Bytes, Damage: damages(report.Damage)}, status(err)
}

// ScrubState implements the contract.
func (s *adminService) ScrubState(ctx context.Context, _ *storagepb.ScrubStateRequest) (*storagepb.ScrubStateResponse, error) {
	st, err := s.ofAny(ctx)
	if err != nil {
		return nil, status(err)
	}
	state := st.ScrubState()
	answer := &storagepb.ScrubStateResponse{
		Running: state.Running, Partition: int32(state.Partition), Next: int64(state.Next), Bytes: state.Bytes,
		LastBytes: state.LastBytes, LastDamage: int64(state.LastDamage), RemainingUs: state.LastRemaining.Microseconds(),
	}
	if !state.Began.IsZero() {
		answer.BeganUs = state.Began.UnixMicro()
	}
	if !state.LastEnded.IsZero() {
		answer.LastEndedUs = state.LastEnded.UnixMicro()
	}
	return answer, nil
}

// Repair implements the contract. The caller stands for the source of the records:
// so a storage needs to know no other one.
func (s *adminService) Repair(stream grpc.BidiStreamingServer[storagepb.RepairRequest, storagepb.RepairResponse]) error {
	st, err := s.of(stream.Context())
	if err != nil {
		return status(err)
	}
	r, err := stream.Recv()
	if err != nil {
		return err
	}
	src := repairSource{stream: stream, answers: make(chan repairAnswer), stopped: s.running}
	if err := s.goReceive(src.receive); err != nil {
		return status(err)
	}
	done, err := st.Repair(stream.Context(), Repair{
		Partition: txn.Partition(r.GetPartition()), First: txn.ID(r.GetFirst()), Last: txn.ID(r.GetLast()), Committed: txn.ID(r.GetCommitted()),
	}, src.read)
	if err != nil {
		return status(err)
	}
	return stream.Send(&storagepb.RepairResponse{
		Done: true, Records: done.Records, Bytes: done.Bytes, Segments: int64(done.Segments), Left: damages(done.Left),
	})
}

// repairSource is the caller of a Repair as its [Source]. A goroutine of its own
// receives, until the handler has returned, since a caller that brings nothing may
// not keep the storage from being closed.
type repairSource struct {
	stream  grpc.BidiStreamingServer[storagepb.RepairRequest, storagepb.RepairResponse]
	answers chan repairAnswer
	stopped context.Context
}

type repairAnswer struct {
	request *storagepb.RepairRequest
	err     error
}

func (s *repairSource) receive() {
	for {
		r, err := s.stream.Recv()
		select {
		case s.answers <- repairAnswer{r, err}:
		case <-s.stream.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// read is a [Source].
func (s *repairSource) read(ctx context.Context, first, last txn.ID) (record.Frame, error) {
	if err := s.stream.Send(&storagepb.RepairResponse{First: int64(first), Last: int64(last)}); err != nil {
		return nil, err
	}
	select {
	case a := <-s.answers:
		if a.err != nil {
			return nil, a.err
		}
		if f := a.request.GetFailure(); f != nil {
			return nil, errors.New(f.GetMessage())
		}
		return a.request.GetFrame(), nil
	case <-s.stopped.Done():
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
