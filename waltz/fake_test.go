package waltz

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
)

// fake is a server of one log in memory, as simple as can be: exact lock map,
// request IDs remembered for ever. Tests bend it by its hooks. Several fakes may
// share one log, as the servers of a cluster do.
type fake struct {
	clientpb.UnimplementedWaltzServer
	log  *fakeLog
	addr string
	srv  *grpc.Server

	mu       sync.Mutex
	owners   []string                                                     // for Describe
	onAppend func(*clientpb.Transaction) *clientpb.Refused                // nil: sequence it
	onGroup  func(*clientpb.AppendRequest, *clientpb.AppendResponse) bool // false: break the stream in place of answering
	onFeed   func(*clientpb.SubscribeResponse)                            // bends a feed message
	onRead   func(*clientpb.ReadResponse)
	feedErr  error // next Subscribe ends with it at once
	requests []*clientpb.AppendRequest
}

type fakeLog struct {
	mu       sync.Mutex
	key      string
	parts    []*fakePartition
	requests map[[2]uint64]txn.ID
	grown    chan struct{}
}

type fakePartition struct {
	frames [][]byte // one record each
	locks  map[uint64]txn.ID
}

func newFakeLog(partitions int) *fakeLog {
	l := &fakeLog{key: "cluster-1", requests: map[[2]uint64]txn.ID{}, grown: make(chan struct{})}
	for range partitions {
		l.parts = append(l.parts, &fakePartition{locks: map[uint64]txn.ID{}})
	}
	return l
}

// sequence appends a transaction or refuses it.
func (l *fakeLog) sequence(t *clientpb.Transaction) (txn.ID, *clientpb.Refused) {
	l.mu.Lock()
	defer l.mu.Unlock()
	request := [2]uint64{t.RequestIdHi, t.RequestIdLo}
	if id, ok := l.requests[request]; ok {
		return id, nil
	}
	if t.Partition < 0 || int(t.Partition) >= len(l.parts) {
		return 0, &clientpb.Refused{Reason: clientpb.Reason_REASON_NO_PARTITION}
	}
	p := l.parts[t.Partition]
	for _, h := range slices.Concat(t.WriteLocks, t.ReadLocks) {
		if id, ok := p.locks[h]; ok && id > txn.ID(t.ClientHighWaterMark) {
			return 0, &clientpb.Refused{Reason: clientpb.Reason_REASON_LOCK_CONFLICT, TransactionId: int64(id)}
		}
	}
	id := txn.ID(len(p.frames))
	for _, h := range slices.Concat(t.WriteLocks, t.AppendLocks) {
		p.locks[h] = id
	}
	r := record.Record{
		Partition: txn.Partition(t.Partition), ID: id, Stamp: 1, Time: txn.Timestamp(1e15 + int64(id)), Header: txn.Header(t.Header),
		Key: []byte(t.Key), Data: t.Data,
	}
	binary.BigEndian.PutUint64(r.Request[:8], t.RequestIdHi)
	binary.BigEndian.PutUint64(r.Request[8:], t.RequestIdLo)
	p.frames = append(p.frames, record.Append(nil, &r, nil))
	l.requests[request] = id
	close(l.grown)
	l.grown = make(chan struct{})
	return id, nil
}

// fill appends n transactions of that many bytes.
func (l *fakeLog) fill(p, n, size int) {
	for i := range n {
		data := make([]byte, size)
		if size >= 8 {
			binary.LittleEndian.PutUint64(data, uint64(i))
		}
		l.sequence(&clientpb.Transaction{Partition: int32(p), RequestIdHi: uint64(p + 1), RequestIdLo: uint64(i), Header: int32(i % 3), Data: data})
	}
}

func (l *fakeLog) mark(p int32) int64 { return int64(len(l.parts[p].frames)) - 1 }

func (l *fakeLog) len(p int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.parts[p].frames)
}

// start serves a log on loopback until the test ends.
func (l *fakeLog) start(t testing.TB) *fake {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l.serve(t, lis)
}

func (l *fakeLog) serve(t testing.TB, lis net.Listener) *fake {
	f := &fake{log: l, addr: lis.Addr().String()}
	f.srv = grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	clientpb.RegisterWaltzServer(f.srv, f)
	done := make(chan struct{})
	go func() { defer close(done); _ = f.srv.Serve(lis) }()
	t.Cleanup(func() { f.srv.Stop(); <-done })
	return f
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) seen() []*clientpb.AppendRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fake) Describe(context.Context, *clientpb.DescribeRequest) (*clientpb.DescribeResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &clientpb.DescribeResponse{
		ClusterKey: f.log.key, ClusterName: "fake", Partitions: int32(len(f.log.parts)), Owners: f.owners,
		Limits: &clientpb.Limits{DataBytesMax: 1 << 20, LocksMax: 64, GroupBytesMax: 2 << 20},
	}, nil
}

func (f *fake) Append(stream grpc.BidiStreamingServer[clientpb.AppendRequest, clientpb.AppendResponse]) error {
	for {
		in, err := stream.Recv()
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.requests = append(f.requests, in)
		onAppend, onGroup := f.onAppend, f.onGroup
		f.mu.Unlock()
		out := f.answer(in, onAppend)
		if onGroup != nil && !onGroup(in, out) {
			return status.Error(codes.Unavailable, "cut")
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

func (f *fake) answer(in *clientpb.AppendRequest, onAppend func(*clientpb.Transaction) *clientpb.Refused) *clientpb.AppendResponse {
	out := &clientpb.AppendResponse{}
	for i, t := range in.Transactions {
		var refused *clientpb.Refused
		var id txn.ID
		if onAppend != nil {
			refused = onAppend(t)
		}
		if refused == nil {
			id, refused = f.log.sequence(t)
		}
		if refused != nil {
			refused.Seq = in.FirstSeq + uint64(i)
			out.Refused = append(out.Refused, refused)
			continue
		}
		out.Committed = append(out.Committed, &clientpb.Committed{FirstSeq: in.FirstSeq + uint64(i), Count: 1, Partition: t.Partition, FirstId: int64(id)})
	}
	return out
}

func (f *fake) Subscribe(in *clientpb.SubscribeRequest, stream grpc.ServerStreamingServer[clientpb.SubscribeResponse]) error {
	f.mu.Lock()
	err := f.feedErr
	f.feedErr = nil
	f.mu.Unlock()
	if err != nil {
		return err
	}
	for mark := in.HighWaterMark; ; {
		out, grown := f.nextFeed(in, mark)
		if out == nil {
			select {
			case <-grown:
				continue
			case <-stream.Context().Done():
				return stream.Context().Err()
			}
		}
		mark = out.HighWaterMark
		f.mu.Lock()
		if f.onFeed != nil {
			f.onFeed(out)
		}
		f.mu.Unlock()
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

func (f *fake) nextFeed(in *clientpb.SubscribeRequest, mark int64) (*clientpb.SubscribeResponse, chan struct{}) {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	frames := f.log.parts[in.Partition].frames
	if mark+1 >= int64(len(frames)) {
		return nil, f.log.grown
	}
	out := &clientpb.SubscribeResponse{HighWaterMark: mark, Committed: int64(len(frames)) - 1}
	for _, b := range frames[mark+1:] {
		r, _, _ := record.Decode(b)
		switch {
		case in.Data == clientpb.DataMode_DATA_MODE_ALL || in.Data == clientpb.DataMode_DATA_MODE_FILTERED && slices.Contains(in.Headers, int32(r.Header)):
			out.Frame = append(out.Frame, b...)
		default:
			out.Frame = record.AppendWithoutData(out.Frame, &r)
		}
		out.HighWaterMark = int64(r.ID)
		if len(out.Frame) >= 64<<10 {
			break
		}
	}
	return out, nil
}

func (f *fake) Read(in *clientpb.ReadRequest, stream grpc.ServerStreamingServer[clientpb.ReadResponse]) error {
	f.log.mu.Lock()
	frames := f.log.parts[in.Partition].frames
	f.log.mu.Unlock()
	ids := in.Ids
	if len(ids) == 0 {
		for id := in.First; id <= in.Last; id++ {
			ids = append(ids, id)
		}
	}
	for chunk := range slices.Chunk(ids, 10) {
		out := &clientpb.ReadResponse{}
		for _, id := range chunk {
			if id < int64(len(frames)) {
				out.Frame = append(out.Frame, frames[id]...)
			}
		}
		f.mu.Lock()
		if f.onRead != nil {
			f.onRead(out)
		}
		f.mu.Unlock()
		if err := stream.Send(out); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) HighWaterMark(_ context.Context, in *clientpb.HighWaterMarkRequest) (*clientpb.HighWaterMarkResponse, error) {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	return &clientpb.HighWaterMarkResponse{HighWaterMark: f.log.mark(in.Partition)}, nil
}

func (f *fake) At(_ context.Context, in *clientpb.AtRequest) (*clientpb.AtResponse, error) {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	frames := f.log.parts[in.Partition].frames
	for i, b := range frames {
		if r, _, _ := record.Decode(b); int64(r.Time) >= in.TimeUs {
			return &clientpb.AtResponse{TransactionId: int64(i)}, nil
		}
	}
	return &clientpb.AtResponse{TransactionId: int64(len(frames))}, nil
}
