package server

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/waltz-log/waltz/internal/memnet"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server/internal/fakestore"
	"github.com/waltz-log/waltz/server/internal/partition"
)

const (
	waitMax = 10 * time.Second
	tick    = time.Millisecond
)

// bundle is a server over fake logs, reached by gRPC in memory through the
// generated client, which knows nothing of our own encoding.
type bundle struct {
	*Server
	t      *testing.T
	logs   []*fakestore.Log
	client clientpb.WaltzClient
	ctx    context.Context
}

func start(t *testing.T, partitions int, change func(*Options)) *bundle {
	t.Helper()
	b := &bundle{t: t}
	for range partitions {
		b.logs = append(b.logs, fakestore.New())
	}
	o := Options{
		ClusterKey: "key", Partitions: partitions, ReopenFirst: time.Millisecond, ReopenMax: 10 * time.Millisecond,
		open: func(ctx context.Context, p txn.Partition, committed func(txn.ID)) (partition.Session, error) {
			s, err := b.logs[p].Open(ctx, p, committed)
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	require.NoError(t, err)
	b.Server = s
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	b.ctx = ctx
	s.Start()
	l, g := memnet.Listen("test"), grpc.NewServer(s.GRPCOptions()...)
	s.Register(g)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	conn := dial(t, l)
	b.client = clientpb.NewWaltzClient(conn)
	t.Cleanup(func() {
		_ = s.Stop(ctx)
		g.Stop()
		serving.Wait()
		_ = conn.Close()
		cancel()
	})
	return b
}

func dial(t *testing.T, l *memnet.Listener) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.Dial(ctx) }))
	require.NoError(t, err)
	return conn
}

func (b *bundle) ready() *bundle {
	b.t.Helper()
	require.NoError(b.t, b.Ready(b.ctx))
	return b
}

// stream is an append stream that numbers its transactions.
type stream struct {
	t    *testing.T
	grpc grpc.BidiStreamingClient[clientpb.AppendRequest, clientpb.AppendResponse]
	seq  uint64
	ids  map[uint64]txn.ID
	not  map[uint64]*clientpb.Refused
}

func (b *bundle) stream() *stream {
	b.t.Helper()
	g, err := b.client.Append(b.ctx)
	require.NoError(b.t, err)
	return &stream{t: b.t, grpc: g, ids: map[uint64]txn.ID{}, not: map[uint64]*clientpb.Refused{}}
}

// send sends a group and returns the number of its first transaction.
func (s *stream) send(txs ...*clientpb.Transaction) uint64 {
	s.t.Helper()
	first := s.seq
	require.NoError(s.t, s.grpc.Send(&clientpb.AppendRequest{FirstSeq: first, Transactions: txs, ClusterKey: "key"}))
	s.seq += uint64(len(txs))
	return first
}

// await receives until n transactions have been answered in all, each once.
func (s *stream) await(n int) {
	s.t.Helper()
	for len(s.ids)+len(s.not) < n {
		m, err := s.grpc.Recv()
		require.NoError(s.t, err)
		for _, c := range m.GetCommitted() {
			for i := range uint64(c.GetCount()) {
				require.NotContains(s.t, s.ids, c.GetFirstSeq()+i)
				s.ids[c.GetFirstSeq()+i] = txn.ID(c.GetFirstId()) + txn.ID(i)
			}
		}
		for _, r := range m.GetRefused() {
			require.NotContains(s.t, s.not, r.GetSeq())
			s.not[r.GetSeq()] = r
		}
	}
}

// append sends one transaction and waits for its answer.
func (s *stream) append(tx *clientpb.Transaction) (txn.ID, *clientpb.Refused) {
	s.t.Helper()
	seq := s.send(tx)
	s.await(int(s.seq))
	return s.ids[seq], s.not[seq]
}

// tx makes a transaction; n is its request ID and its data.
func tx(p int32, n uint64) *clientpb.Transaction {
	return &clientpb.Transaction{
		Partition: p, RequestIdHi: 1, RequestIdLo: n, ClientHighWaterMark: -1, SentHighWaterMark: -1,
		Header: int32(n % 5), Data: binary.BigEndian.AppendUint64(nil, n),
	}
}

func records(t *testing.T, frame []byte) []record.Record {
	t.Helper()
	var all []record.Record
	for r, err := range record.Frame(frame).All() {
		require.NoError(t, err)
		all = append(all, r)
	}
	return all
}
