package storage

import (
	"context"
	"errors"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// Open implements the contract.
func (s *service) Open(ctx context.Context, r *storagepb.OpenRequest) (*storagepb.OpenResponse, error) {
	st, err := s.of(ctx)
	if err != nil {
		return nil, status(err)
	}
	m := session.Open{Partition: txn.Partition(r.GetPartition()), Session: txn.SessionID(r.GetSession())}
	p, err := st.Open(ctx, m)
	if r.GetCreate() && errors.Is(err, ErrNoReplica) {
		if _, err = st.CreateReplica(ctx, m.Partition); err == nil {
			p, err = st.Open(ctx, m)
		}
	}
	if err != nil {
		return nil, status(err)
	}
	return &storagepb.OpenResponse{
		Incarnation: uint64(p.Replica.Incarnation), Start: uint64(p.Replica.Start),
		Promised: int64(p.Promised), Installed: int64(p.Installed), Last: int64(p.Last), Committed: int64(p.Committed), Map: stampStarts(p.Map),
	}, nil
}

func stampStarts(m []session.StampStart) []*storagepb.StampStart {
	all := make([]*storagepb.StampStart, len(m))
	for i, e := range m {
		all[i] = &storagepb.StampStart{Stamp: int64(e.Stamp), First: int64(e.First)}
	}
	return all
}

// Truncate implements the contract.
func (s *service) Truncate(ctx context.Context, r *storagepb.TruncateRequest) (*storagepb.TruncateResponse, error) {
	st, err := s.of(ctx)
	if err == nil {
		err = st.Truncate(ctx, session.Truncate{
			Partition: txn.Partition(r.GetPartition()), Session: txn.SessionID(r.GetSession()), Replica: replicaOf(r), Last: txn.ID(r.GetLast()),
		})
	}
	return &storagepb.TruncateResponse{}, status(err)
}

// Install implements the contract.
func (s *service) Install(ctx context.Context, r *storagepb.InstallRequest) (*storagepb.InstallResponse, error) {
	st, err := s.of(ctx)
	if err == nil {
		err = st.Install(ctx, session.Install{
			Partition: txn.Partition(r.GetPartition()), Session: txn.SessionID(r.GetSession()), Replica: replicaOf(r), Last: txn.ID(r.GetLast()),
		})
	}
	return &storagepb.InstallResponse{}, status(err)
}

// Confirm implements the contract.
func (s *service) Confirm(ctx context.Context, r *storagepb.ConfirmRequest) (*storagepb.ConfirmResponse, error) {
	st, err := s.of(ctx)
	if err == nil {
		err = st.Confirm(ctx, session.Confirm{
			Partition: txn.Partition(r.GetPartition()), Session: txn.SessionID(r.GetSession()), Replica: replicaOf(r),
		})
	}
	return &storagepb.ConfirmResponse{}, status(err)
}

func replicaOf(r interface {
	GetIncarnation() uint64
	GetStart() uint64
},
) session.Replica {
	return session.Replica{Incarnation: session.Incarnation(r.GetIncarnation()), Start: session.Start(r.GetStart())}
}

// copyRecords is Copy, whose message decodes itself.
func (s *service) copyRecords(ctx context.Context, m *wire.StorageCopy) (*storagepb.CopyResponse, error) {
	st, err := s.of(ctx)
	if err == nil {
		err = st.Copy(ctx, session.Copy(*m))
	}
	return &storagepb.CopyResponse{}, status(err)
}

// read is Read, whose answer encodes itself.
func (s *service) read(ctx context.Context, r *storagepb.ReadRequest) (*wire.StorageFrame, error) {
	st, err := s.of(ctx)
	if err != nil {
		return nil, status(err)
	}
	if err := s.admitRead(ctx); err != nil {
		return nil, status(err)
	}
	defer s.dismissRead()
	bytesMax := int(min(max(r.GetBytesMax(), 1), int64(s.o.ReadBytesMax)))
	f, err := st.Read(ctx, txn.Partition(r.GetPartition()), txn.ID(r.GetFirst()), txn.ID(r.GetLast()), bytesMax)
	if err != nil {
		return nil, status(err)
	}
	return &wire.StorageFrame{Records: f}, nil
}

// admitRead waits until fewer than ReadsMax reads run.
func (h *Host) admitRead(ctx context.Context) error {
	select {
	case h.reads <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-h.running.Done():
		return ErrClosed
	}
}

func (h *Host) dismissRead() { <-h.reads }

// At implements the contract.
func (s *service) At(ctx context.Context, r *storagepb.AtRequest) (*storagepb.AtResponse, error) {
	st, err := s.of(ctx)
	if err == nil {
		err = s.admitRead(ctx)
	}
	if err != nil {
		return nil, status(err)
	}
	defer s.dismissRead()
	id, err := st.At(ctx, txn.Partition(r.GetPartition()), txn.Timestamp(r.GetTimeUs()))
	return &storagepb.AtResponse{TransactionId: int64(id)}, status(err)
}
