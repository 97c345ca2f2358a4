package wire

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/bufpool"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/storagepb"
)

func appends() *rapid.Generator[session.Append] {
	return rapid.Custom(func(t *rapid.T) session.Append {
		return session.Append{
			Partition: txn.Partition(rapid.Int32().Draw(t, "partition")), Session: txn.SessionID(rapid.Int64().Draw(t, "session")),
			Replica: replicas().Draw(t, "replica"),
			PrevID:  txn.ID(rapid.Int64().Draw(t, "prev")), PrevStamp: txn.SessionID(rapid.Int64().Draw(t, "prev stamp")),
			Committed: txn.ID(rapid.Int64().Draw(t, "committed")), Records: rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "records"),
		}
	})
}

func replicas() *rapid.Generator[session.Replica] {
	return rapid.Custom(func(t *rapid.T) session.Replica {
		return session.Replica{Incarnation: session.Incarnation(rapid.Uint64().Draw(t, "incarnation")), Start: session.Start(rapid.Uint64().Draw(t, "start"))}
	})
}

func appendProto(m *session.Append) *storagepb.Append {
	return &storagepb.Append{
		Partition: int32(m.Partition), Session: int64(m.Session), Incarnation: uint64(m.Replica.Incarnation), Start: uint64(m.Replica.Start),
		PrevId: int64(m.PrevID), PrevStamp: int64(m.PrevStamp), Committed: int64(m.Committed), Frame: m.Records,
	}
}

// cut returns bytes as the network may have cut them.
func cut(t *rapid.T, b []byte) mem.BufferSlice {
	n := rapid.IntRange(0, len(b)).Draw(t, "cut")
	return mem.BufferSlice{mem.SliceBuffer(b[:n]), mem.SliceBuffer(b[n:])}
}

// TestStorageAppendsAreTheContracts: what we encode the generated code decodes,
// and what it encodes we decode, however the network cuts it, into a group that was
// used before.
func TestStorageAppendsAreTheContracts(t *testing.T) {
	used := NewStorageGroup(bufpool.New())
	rapid.Check(t, func(t *rapid.T) {
		m := StorageAppends{FirstSeq: rapid.Uint64().Draw(t, "seq"), Appends: rapid.SliceOfN(appends(), 0, 5).Draw(t, "appends")}
		want := &storagepb.AppendRequest{FirstSeq: m.FirstSeq}
		for i := range m.Appends {
			want.Appends = append(want.Appends, appendProto(&m.Appends[i]))
		}
		requireEncodes(t, want, &storagepb.AppendRequest{}, &m)
		b, err := proto.Marshal(want)
		require.NoError(t, err)
		require.NoError(t, Codec().Unmarshal(cut(t, b), used))
		require.Equal(t, m.FirstSeq, used.FirstSeq)
		require.Len(t, used.Appends, len(m.Appends))
		for i := range m.Appends {
			require.Equal(t, m.Appends[i], used.Appends[i])
		}
	})
	used.Release()
}

func TestStorageCopyIsTheContracts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := appends().Draw(t, "append")
		m := StorageCopy{Partition: a.Partition, Session: a.Session, Replica: a.Replica, PrevID: a.PrevID, PrevStamp: a.PrevStamp, Records: a.Records}
		want := &storagepb.CopyRequest{
			Partition: int32(m.Partition), Session: int64(m.Session), Incarnation: uint64(m.Replica.Incarnation), Start: uint64(m.Replica.Start),
			PrevId: int64(m.PrevID), PrevStamp: int64(m.PrevStamp), Frame: m.Records,
		}
		requireEncodes(t, want, &storagepb.CopyRequest{}, &m)
		b, err := proto.Marshal(want)
		require.NoError(t, err)
		var got StorageCopy
		require.NoError(t, Codec().Unmarshal(cut(t, b), &got))
		require.Equal(t, m, got)
	})
}

func TestStorageFrameIsTheContracts(t *testing.T) {
	requireEncodes(t, &storagepb.ReadResponse{Frame: []byte("abc")}, &storagepb.ReadResponse{}, &StorageFrame{Records: record.Frame("abc")})
	b, err := proto.Marshal(&storagepb.ReadResponse{Frame: []byte("abc")})
	require.NoError(t, err)
	var got StorageFrame
	require.NoError(t, Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b)}, &got))
	require.Equal(t, "abc", string(got.Records))
	require.ErrorContains(t, got.UnmarshalWire(nil), "no records")
}

func TestStorageAnswersAreTheContracts(t *testing.T) {
	var used StorageAnswers
	rapid.Check(t, func(t *rapid.T) {
		var m StorageAnswers
		want := &storagepb.AppendResponse{}
		for range rapid.IntRange(0, 4).Draw(t, "appended") {
			a := StorageAppended{txn.Partition(rapid.Int32().Draw(t, "p")), replicas().Draw(t, "r"), txn.ID(rapid.Int64().Draw(t, "last")), rapid.Uint64().Draw(t, "seq")}
			m.Appended = append(m.Appended, a)
			want.Appended = append(want.Appended, &storagepb.Appended{
				Partition: int32(a.Partition), Incarnation: uint64(a.Replica.Incarnation), Start: uint64(a.Replica.Start), Last: int64(a.Last), Seq: a.Seq,
			})
		}
		for range rapid.IntRange(0, 3).Draw(t, "failed") {
			f := StorageFailed{txn.Partition(rapid.Int32().Draw(t, "p")), rapid.Uint64().Draw(t, "seq"), failures().Draw(t, "failure")}
			m.Failed = append(m.Failed, f)
			want.Failed = append(want.Failed, &storagepb.Failed{Partition: int32(f.Partition), Seq: f.Seq, Failure: f.Error.failure()})
		}
		if rapid.Bool().Draw(t, "fullness") {
			full := rapid.String().Draw(t, "full")
			m.Full, want.Fullness = &full, &storagepb.Fullness{Message: full}
		}
		requireEncodes(t, want, &storagepb.AppendResponse{}, &m)
		b, err := proto.Marshal(want)
		require.NoError(t, err)
		require.NoError(t, Codec().Unmarshal(cut(t, b), &used))
		require.Equal(t, len(m.Appended)+len(m.Failed), len(used.Appended)+len(used.Failed))
		for i := range m.Appended {
			require.Equal(t, m.Appended[i], used.Appended[i])
		}
		for i := range m.Failed {
			require.Equal(t, m.Failed[i], used.Failed[i])
		}
		require.Equal(t, m.Full, used.Full)
		require.Equal(t, m.Empty(), len(b) == 0)
	})
}

func failures() *rapid.Generator[*StorageError] {
	return rapid.Custom(func(t *rapid.T) *StorageError {
		e := &StorageError{Reason: StorageReason(rapid.Int32Range(1, 21).Draw(t, "reason")), Message: rapid.String().Draw(t, "message")}
		if rapid.Bool().Draw(t, "refused") {
			e.Refused = &session.RefusedError{
				Message: "append", Reason: session.Mismatch, Partition: 3, Session: 5, Promised: 6, Installed: 5,
				Last: txn.ID(rapid.Int64().Draw(t, "last")), LastStamp: 4, Detail: rapid.String().Draw(t, "detail"),
			}
		}
		if rapid.Bool().Draw(t, "damage") {
			e.Damage = &StorageDamage{Partition: 3, First: 4, Last: txn.ID(rapid.Int64().Draw(t, "last")), File: "f", Offset: 9, Reason: "r"}
		}
		return e
	})
}

// TestStorageErrorsTravel: a status carries the whole error, and on the other side
// it is what the server's session driver looks for.
func TestStorageErrorsTravel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := failures().Draw(t, "failure")
		got := FromStorageStatus(StorageStatus(fmt.Errorf("open: %w", want)))
		require.Equal(t, want, got)
	})
	refused := &session.RefusedError{Reason: session.Fenced, Promised: 7}
	for _, test := range []struct {
		in *StorageError
		is func(error) bool
	}{
		{&StorageError{Reason: StorageRefused, Refused: refused}, func(err error) bool { why, ok := session.Refused(err); return ok && why == session.Fenced }},
		{FailStorage(StorageDiskFull, "full"), func(err error) bool { return errors.Is(err, session.ErrFull) }},
		{FailStorage(StorageBusy, "busy"), func(err error) bool { return errors.Is(err, session.ErrBusy) }},
		{FailStorage(StorageCorrupt, "corrupt"), record.IsCorrupt},
		{&StorageError{Reason: StorageDamaged, Damage: &StorageDamage{Offset: 9}}, record.IsCorrupt},
		{FailStorage(StorageNoReplica, "none"), func(err error) bool { why, ok := StorageReasonOf(err); return ok && why == StorageNoReplica }},
		{FailStorage(StorageRefused, "without why"), func(err error) bool { _, ok := session.Refused(err); return !ok }},
	} {
		require.True(t, test.is(FromStorageStatus(StorageStatus(test.in))), "%v", test.in)
	}
}

func TestOtherErrorsOfStorages(t *testing.T) {
	require.NoError(t, StorageStatus(nil))
	require.NoError(t, FromStorageStatus(nil))
	require.ErrorIs(t, FromStorageStatus(StorageStatus(context.Canceled)), context.Canceled)
	require.ErrorIs(t, FromStorageStatus(StorageStatus(context.DeadlineExceeded)), context.DeadlineExceeded)
	require.Equal(t, codes.Internal, status.Code(StorageStatus(errors.New("odd"))))
	down := status.Error(codes.Unavailable, "down")
	require.Equal(t, down, StorageStatus(down))
	require.ErrorIs(t, FromStorageStatus(down), down)
	require.EqualError(t, FromStorageStatus(down), "down")
}

// Every reason of the contract has a status code of its own choice.
func TestEveryStorageReasonHasACode(t *testing.T) {
	for reason := range storagepb.Reason_name {
		if reason == 0 {
			continue
		}
		require.Contains(t, storageCodes, StorageReason(reason), storagepb.Reason(reason).String())
	}
}

// FuzzStorageGroup: no bytes from the network make the decoder panic, and what it
// takes, the generated decoder reads in the same way.
func FuzzStorageGroup(f *testing.F) {
	seed, err := proto.Marshal(&storagepb.AppendRequest{FirstSeq: 3, Appends: []*storagepb.Append{
		{Partition: 1, Session: 2, Incarnation: 3, Start: 4, PrevId: -1, PrevStamp: 6, Committed: 7, Frame: []byte("frame")},
	}})
	require.NoError(f, err)
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		g := NewStorageGroup(bufpool.New())
		defer g.Release()
		want := &storagepb.AppendRequest{}
		if g.UnmarshalWire(mem.BufferSlice{mem.SliceBuffer(b)}) != nil || proto.Unmarshal(b, want) != nil {
			return
		}
		require.Equal(t, want.GetFirstSeq(), g.FirstSeq)
		require.Len(t, g.Appends, len(want.GetAppends()))
		for i := range g.Appends {
			require.True(t, proto.Equal(want.GetAppends()[i], appendProto(&g.Appends[i])))
		}
	})
}

// FuzzStorageAnswers is FuzzStorageGroup for what comes back.
func FuzzStorageAnswers(f *testing.F) {
	seed, err := proto.Marshal(&storagepb.AppendResponse{
		Appended: []*storagepb.Appended{{Partition: 1, Incarnation: 2, Start: 3, Last: -1, Seq: 4}},
		Failed:   []*storagepb.Failed{{Partition: 1, Seq: 5, Failure: &storagepb.Failure{Reason: 1, Refused: &storagepb.Refused{Why: 2}}}},
		Fullness: &storagepb.Fullness{Message: "full"},
	})
	require.NoError(f, err)
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		var a StorageAnswers
		want := &storagepb.AppendResponse{}
		if a.UnmarshalWire(mem.BufferSlice{mem.SliceBuffer(b)}) != nil || proto.Unmarshal(b, want) != nil {
			return
		}
		require.Len(t, a.Appended, len(want.GetAppended()))
		require.Len(t, a.Failed, len(want.GetFailed()))
		for i, got := range a.Appended {
			w := want.GetAppended()[i]
			require.Equal(t, [3]int64{int64(w.GetPartition()), w.GetLast(), int64(w.GetSeq())}, [3]int64{int64(got.Partition), int64(got.Last), int64(got.Seq)})
		}
	})
}
