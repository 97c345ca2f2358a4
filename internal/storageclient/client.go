package storageclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/waltz-log/waltz/internal/bufpool"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// ErrClosed: Close was called.
var ErrClosed = errors.New("connection to the storage is closed")

// Client is the way to one storage. Make it with New. All methods may be called
// concurrently.
type Client struct {
	o       Options
	appends *grpc.ClientConn // and all that is short
	bulk    *grpc.ClientConn // reads and copies
	api     storagepb.StorageClient
	headers metadata.MD

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	running sync.WaitGroup
	demand  chan struct{} // a stream is wanted
	work    chan struct{} // the sender is wanted

	closing  sync.Once
	closeErr error

	mu   sync.Mutex
	link link // guarded by mu
}

const (
	// The windows hold what a storage may send ahead of us: answers, and records in
	// bulk.
	streamWindow     = 4 << 20
	connectionWindow = 8 << 20
	socketBuffer     = 256 << 10
	messageMax       = record.DataMax + 1<<20 // one record may be that large
	connectTimeout   = 5 * time.Second
	keepaliveIdle    = 10 * time.Second // the least that gRPC takes
	keepaliveTimeout = 3 * time.Second
)

// New makes a client, which connects when it is first used, and again whenever the
// connection is lost.
func New(o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{o: o, demand: make(chan struct{}, 1), work: make(chan struct{}, 1), headers: metadata.Pairs(
		wire.HeaderProtocol, strconv.Itoa(wire.StorageProtocol), wire.HeaderCluster, o.ClusterKey, wire.HeaderStorage, o.Name,
	)}
	if err := c.connect(); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", o.which(), err)
	}
	c.link.lanes = map[txn.Partition]*lane{}
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx, c.cancel = metadata.NewOutgoingContext(ctx, c.headers), cancel
	c.running.Go(c.receive)
	c.running.Go(c.send)
	return c, nil
}

// connect makes the two connections.
func (c *Client) connect() (err error) {
	pool := bufpool.New()
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(c.o.Credentials),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connectionWindow),
		grpc.WithReadBufferSize(socketBuffer),
		grpc.WithWriteBufferSize(socketBuffer),
		experimental.WithBufferPool(pool),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec()), grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoffConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveIdle, Timeout: keepaliveTimeout}),
	}
	if c.o.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(c.o.Dial))
	}
	if c.appends, err = grpc.NewClient("passthrough:///"+c.o.Address, opts...); err != nil {
		return err
	}
	if c.bulk, err = grpc.NewClient("passthrough:///"+c.o.Address, opts...); err != nil {
		return errors.Join(err, c.appends.Close())
	}
	c.api = storagepb.NewStorageClient(c.appends)
	return nil
}

// A storage that comes back is found within half a second.
var backoffConfig = backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}

// Close ends the connections; what is unanswered fails with ErrClosed. It returns
// when nothing of the client runs any more, and may be called more than once.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.fail(ErrClosed, true)
		c.cancel()
		c.running.Wait()
		c.closeErr = errors.Join(c.appends.Close(), c.bulk.Close())
	})
	return c.closeErr
}

// Deserted reports whether the machine at the storage's address says that nobody
// listens there, so that no process of the storage runs. No answer, an address that
// nobody knows, or a network without a way there say nothing of the storage.
func (c *Client) Deserted(ctx context.Context) bool {
	dial := c.o.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	conn, err := dial(ctx, c.o.Address)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// calling returns the context of a call, with its headers.
func (c *Client) calling(ctx context.Context) context.Context {
	return metadata.NewOutgoingContext(ctx, c.headers)
}

// problem says of which storage an error is.
func (c *Client) problem(err error) error {
	if err == nil {
		return nil
	}
	if err = wire.FromStorageStatus(err); errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s gives no answer in time: %w", c.o.which(), err)
	}
	return fmt.Errorf("%s: %w", c.o.which(), err)
}
