package codec

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

func drawID(t *rapid.T, name string) txn.ID { return txn.ID(rapid.Int64Min(-1).Draw(t, name)) }

// What is encoded by hand is what protobuf's own code reads.
func TestGroupIsProtobuf(t *testing.T) {
	c := Codec{Pool: NewPool()}
	rapid.Check(t, func(t *rapid.T) {
		g := Group{Pool: c.Pool}
		want := &clientpb.AppendRequest{FirstSeq: rapid.Uint64().Draw(t, "seq"), ClusterKey: rapid.StringN(0, 20, 40).Draw(t, "key")}
		var bodies [][]byte
		var marks []txn.ID
		size := 0
		for range rapid.IntRange(0, 5).Draw(t, "transactions") {
			tx := Transaction{
				Partition: txn.Partition(rapid.Int32Min(0).Draw(t, "partition")), Header: txn.Header(rapid.Int32().Draw(t, "header")),
				ClientHWM: drawID(t, "client"), Key: rapid.StringN(0, 50, 255).Draw(t, "key"),
				Data: rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "data"),
			}
			copy(tx.Request[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "request"))
			m := &clientpb.Transaction{
				Partition: int32(tx.Partition), Header: int32(tx.Header), ClientHighWaterMark: int64(tx.ClientHWM), Key: tx.Key, Data: tx.Data,
				RequestIdHi: binary.BigEndian.Uint64(tx.Request[:8]), RequestIdLo: binary.BigEndian.Uint64(tx.Request[8:]),
				SentHighWaterMark: int64(drawID(t, "sent")), Resend: rapid.Bool().Draw(t, "resend"),
			}
			for range rapid.IntRange(0, 4).Draw(t, "locks") {
				l := txn.Lock{Hash: txn.LockHash(rapid.Uint64().Draw(t, "hash")), Mode: txn.LockMode(rapid.IntRange(1, 3).Draw(t, "mode"))}
				tx.Locks = append(tx.Locks, l)
				to := map[txn.LockMode]*[]uint64{txn.LockWrite: &m.WriteLocks, txn.LockRead: &m.ReadLocks, txn.LockAppend: &m.AppendLocks}[l.Mode]
				*to = append(*to, uint64(l.Hash))
			}
			body := AppendBody(nil, &tx)
			require.LessOrEqual(t, len(body)+Framing, BodySize(len(tx.Locks), tx.Key, tx.Data))
			bodies, marks, size = append(bodies, body), append(marks, txn.ID(m.SentHighWaterMark)), size+len(body)+Framing
			want.Transactions = append(want.Transactions, m)
		}
		g.Begin(size, want.FirstSeq, want.ClusterKey)
		space := cap(*g.buf)
		for i, body := range bodies {
			g.Add(body, marks[i], want.Transactions[i].Resend)
		}
		require.Equal(t, space, cap(*g.buf), "Begin took enough")
		out, err := c.Marshal(&g)
		require.NoError(t, err)
		var got clientpb.AppendRequest
		require.NoError(t, proto.Unmarshal(out.Materialize(), &got))
		out.Free()
		if len(want.Transactions) == 0 {
			want.Transactions = got.Transactions
		}
		for i, m := range want.Transactions {
			if len(m.Data) == 0 {
				m.Data = got.Transactions[i].Data
			}
		}
		require.True(t, proto.Equal(want, &got), "want %v\ngot %v", want, &got)
	})
}

func TestChangeRequest(t *testing.T) {
	tx := Transaction{Partition: 300, Data: []byte("d")}
	body := AppendBody(nil, &tx)
	ChangeRequest(body, txn.RequestID{1, 15: 2})
	tx.Request = txn.RequestID{1, 15: 2}
	require.Equal(t, AppendBody(nil, &tx), body)
}

// split makes a received message of several buffers.
func split(b []byte, n int) mem.BufferSlice {
	n = min(n, len(b))
	return mem.BufferSlice{mem.SliceBuffer(b[:n]), mem.SliceBuffer(b[n:])}
}

func TestAnswersAreProtobuf(t *testing.T) {
	c := Codec{Pool: NewPool()}
	var got Answers
	rapid.Check(t, func(t *rapid.T) {
		in := &clientpb.AppendResponse{}
		var want Answers
		for range rapid.IntRange(0, 4).Draw(t, "committed") {
			m := &clientpb.Committed{
				FirstSeq: rapid.Uint64().Draw(t, "seq"), Count: rapid.Uint32().Draw(t, "count"),
				Partition: rapid.Int32().Draw(t, "partition"), FirstId: rapid.Int64().Draw(t, "id"),
			}
			in.Committed = append(in.Committed, m)
			want.Committed = append(want.Committed, Committed{m.FirstSeq, m.Count, txn.Partition(m.Partition), txn.ID(m.FirstId)})
		}
		for range rapid.IntRange(0, 4).Draw(t, "refused") {
			m := &clientpb.Refused{
				Seq: rapid.Uint64().Draw(t, "seq"), Reason: clientpb.Reason(rapid.Int32().Draw(t, "reason")),
				TransactionId: rapid.Int64().Draw(t, "id"), Message: rapid.String().Draw(t, "message"), Limit: rapid.Int64().Draw(t, "limit"),
			}
			in.Refused = append(in.Refused, m)
			want.Refused = append(want.Refused, Refused{m.Seq, monitor.Outcome{Reason: monitor.Reason(m.Reason), ID: txn.ID(m.TransactionId), Message: m.Message, Limit: m.Limit}})
		}
		b, err := proto.Marshal(in)
		require.NoError(t, err)
		require.NoError(t, c.Unmarshal(split(b, rapid.IntRange(0, 100).Draw(t, "split")), &got))
		require.ElementsMatch(t, want.Committed, got.Committed)
		require.ElementsMatch(t, want.Refused, got.Refused)
	})
}

func TestChunkIsProtobufAndItsOwn(t *testing.T) {
	c := Codec{Pool: NewPool()}
	b, err := proto.Marshal(&clientpb.SubscribeResponse{Frame: []byte("frame"), HighWaterMark: -1, Committed: 1 << 40})
	require.NoError(t, err)
	var got Chunk
	require.NoError(t, c.Unmarshal(split(b, 4), &got))
	clear(b)
	require.Equal(t, Chunk{Frame: []byte("frame"), HighWaterMark: -1, Committed: 1 << 40}, got)
	require.NoError(t, c.Unmarshal(nil, &got))
	require.Equal(t, Chunk{}, got, "nothing is left of the last one")
}

func TestOtherMessagesGoThroughProtobuf(t *testing.T) {
	c := Codec{Pool: NewPool()}
	out, err := c.Marshal(&clientpb.AtRequest{TimeUs: 7})
	require.NoError(t, err)
	var got clientpb.AtRequest
	require.NoError(t, c.Unmarshal(out, &got))
	require.Equal(t, int64(7), got.TimeUs)
	require.Equal(t, "proto", c.Name())
}

func TestPool(t *testing.T) {
	p := NewPool()
	for _, n := range []int{0, 1, 2048, 2049, 32768, 32769, 1 << 20, 1<<20 + 1} {
		b := p.Get(n)
		require.Len(t, *b, n)
		require.LessOrEqual(t, cap(*b), max(2*n, 2048), "no more than twice what is needed")
		p.Put(b)
	}
	odd := make([]byte, 3000)
	p.Put(&odd)
	require.Equal(t, 4096, cap(*p.Get(3000)))
}

func FuzzAnswers(f *testing.F) {
	b, _ := proto.Marshal(&clientpb.AppendResponse{
		Committed: []*clientpb.Committed{{FirstSeq: 1, Count: 2, Partition: 3, FirstId: 4}},
		Refused:   []*clientpb.Refused{{Seq: 9, Reason: 1, TransactionId: 5, Message: "m"}},
	})
	f.Add(b)
	f.Add([]byte{0x0a, 0xff})
	c := Codec{Pool: NewPool()}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got Answers
		var want clientpb.AppendResponse
		if proto.Unmarshal(b, &want) == nil {
			require.NoError(t, c.Unmarshal(split(b, 3), &got), "protobuf can read it")
		}
		_ = c.Unmarshal(split(b, 3), &got)
	})
}

func FuzzChunk(f *testing.F) {
	b, _ := proto.Marshal(&clientpb.SubscribeResponse{Frame: []byte("frame"), HighWaterMark: 3, Committed: 4})
	f.Add(b)
	c := Codec{Pool: NewPool()}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got Chunk
		if c.Unmarshal(split(b, 3), &got) == nil && len(got.Frame) > 0 {
			require.True(t, bytes.Contains(b, got.Frame))
		}
	})
}
