package server

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/waltz-log/waltz/internal/wire"
)

const (
	// The windows hold what a client may send ahead of us on a stream and on a
	// connection. They bound memory that one client can make us hold, so not the
	// 8 MiB of the benchmarks; 1 MiB fills 1 GB/s at a millisecond's distance.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
	socketBuffer     = 256 << 10
	headerBytesMax   = 16 << 10
	streamsMax       = 20_000
	keepaliveIdle    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
	keepaliveMin     = 5 * time.Second
)

// GRPCOptions returns the options that a gRPC server must be made with to host
// this server: its codec and message limits, and buffers and windows sized for
// it. Further options (credentials, interceptors) may be added.
func (s *Server) GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(wire.Codec()),
		grpc.MaxRecvMsgSize(s.o.GroupBytesMax),
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.MaxConcurrentStreams(streamsMax),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
		grpc.ReadBufferSize(socketBuffer),
		grpc.WriteBufferSize(socketBuffer),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveIdle, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
	}
}
