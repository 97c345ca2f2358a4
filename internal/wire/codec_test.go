package wire

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
)

func transactions() *rapid.Generator[*clientpb.Transaction] {
	return rapid.Custom(func(t *rapid.T) *clientpb.Transaction {
		locks := rapid.SliceOfN(rapid.Uint64(), 0, 4)
		return &clientpb.Transaction{
			Partition: rapid.Int32().Draw(t, "partition"), Header: rapid.Int32().Draw(t, "header"),
			RequestIdHi: rapid.Uint64().Draw(t, "hi"), RequestIdLo: rapid.Uint64().Draw(t, "lo"),
			ClientHighWaterMark: rapid.Int64().Draw(t, "client"), SentHighWaterMark: rapid.Int64().Draw(t, "sent"),
			Resend:     rapid.Bool().Draw(t, "resend"),
			WriteLocks: locks.Draw(t, "write"), ReadLocks: locks.Draw(t, "read"), AppendLocks: locks.Draw(t, "append"),
			Key: rapid.String().Draw(t, "key"), Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		}
	})
}

func (a *Attempt) same(t require.TestingT, want *clientpb.Transaction) {
	var request txn.RequestID
	binary.BigEndian.PutUint64(request[:], want.GetRequestIdHi())
	binary.BigEndian.PutUint64(request[8:], want.GetRequestIdLo())
	var locks []txn.Lock
	for mode, hashes := range map[txn.LockMode][]uint64{txn.LockWrite: want.GetWriteLocks(), txn.LockRead: want.GetReadLocks(), txn.LockAppend: want.GetAppendLocks()} {
		for _, h := range hashes {
			locks = append(locks, txn.Lock{Hash: txn.LockHash(h), Mode: mode})
		}
	}
	require.ElementsMatch(t, locks, a.Locks)
	require.Equal(t, request, a.Request)
	require.Equal(t, txn.Partition(want.GetPartition()), a.Partition)
	require.Equal(t, txn.Header(want.GetHeader()), a.Header)
	require.Equal(t, txn.ID(want.GetClientHighWaterMark()), a.ClientHWM)
	require.Equal(t, txn.ID(want.GetSentHighWaterMark()), a.SentHWM)
	require.Equal(t, want.GetResend(), a.Resend)
	require.Equal(t, want.GetKey(), string(a.Key))
	require.Equal(t, string(want.GetData()), string(a.Data))
}

// TestAppendGroupIsTheContracts: what the generated code encodes is what we
// decode, however the network cuts it, and a group that is used again holds
// nothing of its past.
func TestAppendGroupIsTheContracts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &clientpb.AppendRequest{
			FirstSeq: rapid.Uint64().Draw(t, "seq"), ClusterKey: rapid.String().Draw(t, "cluster"),
			Transactions: rapid.SliceOfN(transactions(), 0, 5).Draw(t, "transactions"),
		}
		b, err := proto.Marshal(want)
		require.NoError(t, err)
		cut := rapid.IntRange(0, len(b)).Draw(t, "cut")
		g := NewAppendGroup()
		defer g.Release()
		require.NoError(t, Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(b[:cut]), mem.SliceBuffer(b[cut:])}, g))
		require.Equal(t, want.GetClusterKey(), g.ClusterKey)
		require.Len(t, g.Attempts, len(want.GetTransactions()))
		for i := range g.Attempts {
			require.Equal(t, want.GetFirstSeq()+uint64(i), g.Attempts[i].Seq)
			g.Attempts[i].same(t, want.GetTransactions()[i])
			c := g.Attempts[i].Clone()
			c.same(t, want.GetTransactions()[i])
		}
	})
}

func TestAnswersAreTheContracts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a Answers
		want := &clientpb.AppendResponse{}
		for range rapid.IntRange(0, 5).Draw(t, "committed") {
			c := Committed{rapid.Uint64().Draw(t, "seq"), rapid.Uint32Min(1).Draw(t, "count"), txn.Partition(rapid.Int32Min(0).Draw(t, "partition")), txn.ID(rapid.Int64Min(0).Draw(t, "id"))}
			a.Committed = append(a.Committed, c)
			want.Committed = append(want.Committed, &clientpb.Committed{FirstSeq: c.FirstSeq, Count: c.Count, Partition: int32(c.Partition), FirstId: int64(c.FirstID)})
		}
		for range rapid.IntRange(0, 5).Draw(t, "refused") {
			e := Error{Reason(rapid.Int32Range(1, 14).Draw(t, "reason")), txn.ID(rapid.Int64().Draw(t, "id")), rapid.Int64().Draw(t, "limit"), rapid.String().Draw(t, "message")}
			r := Refused{rapid.Uint64().Draw(t, "seq"), e}
			a.Refused = append(a.Refused, r)
			want.Refused = append(want.Refused, &clientpb.Refused{Seq: r.Seq, Reason: clientpb.Reason(e.Reason), TransactionId: int64(e.TransactionID), Limit: e.Limit, Message: e.Message})
		}
		requireEncodes(t, want, &clientpb.AppendResponse{}, &a)
	})
}

func TestCommittedRangesMerge(t *testing.T) {
	var a Answers
	a.Commit(Committed{FirstSeq: 5, Count: 2, Partition: 1, FirstID: 10})
	a.Commit(Committed{FirstSeq: 7, Count: 3, Partition: 1, FirstID: 12})
	a.Commit(Committed{FirstSeq: 10, Count: 1, Partition: 1, FirstID: 16}) // an ID between
	a.Commit(Committed{FirstSeq: 12, Count: 1, Partition: 1, FirstID: 17}) // a number between
	a.Commit(Committed{FirstSeq: 13, Count: 1, Partition: 2, FirstID: 18}) // another partition
	require.Equal(t, []uint32{5, 1, 1, 1}, []uint32{a.Committed[0].Count, a.Committed[1].Count, a.Committed[2].Count, a.Committed[3].Count})
	require.Equal(t, 8, a.Len())
	a.Reset()
	require.Zero(t, a.Len())
}

func TestFramesAreTheContracts(t *testing.T) {
	frames := []record.Frame{record.Frame("abc"), nil, record.Frame("defg")}
	requireEncodes(t, &clientpb.SubscribeResponse{Frame: []byte("abcdefg"), HighWaterMark: 7, Committed: 9},
		&clientpb.SubscribeResponse{}, &Fed{Frames: frames, HighWaterMark: 7, Committed: 9})
	requireEncodes(t, &clientpb.SubscribeResponse{HighWaterMark: -1, Committed: -1}, &clientpb.SubscribeResponse{}, &Fed{HighWaterMark: -1, Committed: -1})
	requireEncodes(t, &clientpb.ReadResponse{Frame: []byte("abcdefg")}, &clientpb.ReadResponse{}, Frames(frames))
	f := Frames(frames)
	requireEncodes(t, &clientpb.ReadResponse{Frame: []byte("abcdefg")}, &clientpb.ReadResponse{}, &f)
}

func requireEncodes(t require.TestingT, want, got proto.Message, m Marshaler) {
	b, err := Codec().Marshal(m)
	require.NoError(t, err)
	require.NoError(t, proto.Unmarshal(b.Materialize(), got))
	require.True(t, proto.Equal(want, got), "%v\n%v", want, got)
}

func TestOtherMessagesPass(t *testing.T) {
	want, got := &clientpb.AtRequest{Partition: 3, TimeUs: 9}, &clientpb.AtRequest{}
	b, err := Codec().Marshal(want)
	require.NoError(t, err)
	require.NoError(t, Codec().Unmarshal(b, got))
	require.True(t, proto.Equal(want, got))
	require.Equal(t, "proto", Codec().Name())
}

// FuzzAppendGroup: no bytes from the network make the decoder panic, and what it
// takes, the generated decoder reads in the same way.
func FuzzAppendGroup(f *testing.F) {
	seed, err := proto.Marshal(&clientpb.AppendRequest{FirstSeq: 3, ClusterKey: "k", Transactions: []*clientpb.Transaction{
		{RequestIdHi: 1, Partition: 2, WriteLocks: []uint64{1, 2}, Data: []byte("data"), Key: "key", ClientHighWaterMark: -1},
	}})
	require.NoError(f, err)
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Add([]byte{18, 9, 65, 1, 2, 3, 4, 5, 6, 7, 8}) // locks that are not packed
	f.Fuzz(func(t *testing.T, b []byte) {
		g := NewAppendGroup()
		defer g.Release()
		if g.UnmarshalWire(mem.BufferSlice{mem.SliceBuffer(b)}) != nil {
			return
		}
		want := &clientpb.AppendRequest{}
		if proto.Unmarshal(b, want) != nil {
			return // invalid UTF-8 in a string, say; the sequencer does not care
		}
		require.Len(t, g.Attempts, len(want.GetTransactions()))
		for i := range g.Attempts {
			g.Attempts[i].same(t, want.GetTransactions()[i])
		}
	})
}

func BenchmarkDecodeGroup(b *testing.B) {
	for _, n := range []int{1, 16, 55} {
		req := &clientpb.AppendRequest{}
		for i := range n {
			req.Transactions = append(req.Transactions, &clientpb.Transaction{
				RequestIdHi: 1, RequestIdLo: uint64(i), WriteLocks: []uint64{uint64(i)}, Data: make([]byte, 512), ClientHighWaterMark: 1 << 30, SentHighWaterMark: 1 << 30,
			})
		}
		raw, err := proto.Marshal(req)
		require.NoError(b, err)
		b.Run("transactions="+txn.ID(n).String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g := NewAppendGroup()
				if err := g.UnmarshalWire(mem.BufferSlice{mem.SliceBuffer(raw)}); err != nil {
					b.Fatal(err)
				}
				g.Release()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/tx")
		})
	}
}
