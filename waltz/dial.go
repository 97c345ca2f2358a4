package waltz

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"

	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/waltz/internal/codec"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// Sizes of connections. A window larger than gRPC's 64 KiB keeps a feed moving
// while the application works, and bounds what a server holds for one client.
const (
	streamWindow   = 1 << 20
	connWindow     = 4 << 20
	ioBuffer       = 256 << 10
	messageMax     = 512 << 20 // one transaction may have record.DataMax bytes
	connectTimeout = 5 * time.Second
)

// Dial connects to the log at an address: waltz://host:port,host:port names
// servers, any of which knows the others; other schemes come by [WithSchemes].
// It returns when a server has answered, or with ctx's error and the last trouble
// when ctx ends before; without a deadline it tries for ever. A mistake in the
// address or the options, or another cluster than [WithClusterKey] names, is an
// error at once. ctx doesn't bound the client.
func Dial(ctx context.Context, addr string, opts ...Option) (*Client, error) {
	o, err := newOptions(opts)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	t, err := openTransport(ctx, addr, o.schemes)
	if err != nil {
		return nil, err
	}
	c := newClient(o, t)
	if err := c.router.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("dial %s: %w", addr, err), c.Close())
	}
	return c, nil
}

func newClient(o options, t Transport) *Client {
	c := &Client{opts: o, log: o.logger, transport: t, pool: codec.NewPool(), links: map[string]*link{}, ailing: map[Partition]monitor.Reason{}, routed: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.router = newRouter(c)
	c.calls.New = func() any { return newAttempt() }
	return c
}

// adopt takes what the first server told about the log.
func (c *Client) adopt(d *clientpb.DescribeResponse) {
	l := d.GetLimits()
	c.cluster = cluster{
		key: d.GetClusterKey(), name: d.GetClusterName(), partitions: int(d.GetPartitions()),
		limits: Limits{DataBytesMax: l.GetDataBytesMax(), LocksMax: int(l.GetLocksMax()), GroupBytesMax: l.GetGroupBytesMax()},
	}
	c.known = make([]atomic.Int64, c.cluster.partitions)
	for i := range c.known {
		c.known[i].Store(int64(None))
	}
	c.monitor = monitor.New(c.cluster.partitions, monitor.Limits{Attempts: c.opts.appendsMax, Bytes: c.opts.bytesMax})
	c.routes = make([]*link, c.cluster.partitions)
}

// dialServer makes a connection, which connects when it is first used.
func (c *Client) dialServer(addr string) (*grpc.ClientConn, error) {
	creds := c.opts.creds
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithReadBufferSize(ioBuffer),
		grpc.WithWriteBufferSize(ioBuffer),
		experimental.WithBufferPool(c.pool),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec.Codec{Pool: c.pool}), grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoffConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}
	if c.transport.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(c.transport.Dial))
	}
	return grpc.NewClient("passthrough:///"+addr, append(opts, c.opts.grpc...)...)
}

var backoffConfig = backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
