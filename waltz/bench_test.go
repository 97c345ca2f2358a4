package waltz

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
)

// fast is a server that costs as little as a gRPC server can: it answers every
// group at once and remembers nothing, and feeds one frame again and again. What
// a benchmark against it measures is the client and gRPC.
type fast struct {
	clientpb.UnimplementedWaltzServer
	mark  atomic.Int64
	frame []byte // of one feed message
	each  int    // records in it
}

func (s *fast) Describe(context.Context, *clientpb.DescribeRequest) (*clientpb.DescribeResponse, error) {
	return &clientpb.DescribeResponse{ClusterKey: "fast", Partitions: 1}, nil
}

func (s *fast) Append(stream grpc.BidiStreamingServer[clientpb.AppendRequest, clientpb.AppendResponse]) error {
	for {
		g := wire.NewAppendGroup()
		if err := stream.RecvMsg(g); err != nil {
			g.Release()
			return err
		}
		n := int64(len(g.Attempts))
		var out wire.Answers
		out.Commit(wire.Committed{FirstSeq: g.Attempts[0].Seq, Count: uint32(n), FirstID: txn.ID(s.mark.Add(n) - n)})
		g.Release()
		if err := stream.SendMsg(&out); err != nil {
			return err
		}
	}
}

func (s *fast) Subscribe(in *clientpb.SubscribeRequest, stream grpc.ServerStreamingServer[clientpb.SubscribeResponse]) error {
	id := txn.ID(in.HighWaterMark) + 1
	for {
		frame := make([]byte, 0, len(s.frame))
		for range s.each {
			r := record.Record{ID: id, Stamp: 1, Time: 1, Data: s.frame[:len(s.frame)/s.each-record.HeaderSize]}
			frame = record.Append(frame, &r, nil)
			id++
		}
		if err := stream.SendMsg(&wire.Fed{Frames: []record.Frame{frame}, HighWaterMark: id - 1, Committed: 1 << 40}); err != nil {
			return err
		}
	}
}

func (s *fast) start(b *testing.B) string {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	srv := grpc.NewServer(
		grpc.ForceServerCodecV2(wire.Codec()), grpc.ReadBufferSize(256<<10), grpc.WriteBufferSize(256<<10),
		grpc.StaticStreamWindowSize(1<<20), grpc.StaticConnWindowSize(4<<20),
	)
	clientpb.RegisterWaltzServer(srv, s)
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	b.Cleanup(func() { srv.Stop(); <-done })
	return lis.Addr().String()
}

// cpu returns the CPU time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkAppend(b *testing.B) {
	for _, inFlight := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) {
			c := dial(b, new(fast).start(b))
			benchAppend(b, c, inFlight)
		})
	}
}

func benchAppend(b *testing.B, c *Client, inFlight int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	data := make([]byte, 512)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	used := cpu()
	for g := range inFlight {
		wg.Go(func() {
			locks := []Lock{account.ID(uint64(g)).Write()}
			for next.Add(1) <= int64(b.N) {
				if _, err := c.Append(ctx, 0, Transaction{Data: data, Locks: locks, HighWaterMark: None}); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
	require.Nil(b, failed.Load())
}

func BenchmarkSubscribe(b *testing.B) {
	for _, size := range []int{200, 512} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			record := record.HeaderSize + size
			each := 256 << 10 / record
			server := &fast{frame: make([]byte, each*record), each: each}
			c := dial(b, server.start(b))
			s := subscribe(b, c, SubscribeOptions{HighWaterMark: None})
			b.ReportAllocs()
			b.ResetTimer()
			used := cpu()
			for seen := 0; seen < b.N; {
				batch, err := s.Next(context.Background(), 0)
				require.NoError(b, err)
				seen += len(batch.Transactions)
			}
			b.ReportMetric(float64((cpu()-used).Nanoseconds())/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
