package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/experimental"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"github.com/waltz-log/waltz/internal/bufpool"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// HostOptions says which storage a Host serves, and how much it may use.
type HostOptions struct {
	// Storage are the storage's own options. Without a ClusterKey the storage is
	// opened as what its folder says it is; an empty folder belongs to the cluster of
	// the first server that calls.
	Storage Options
	// Name is the storage's name in the metadata. A caller that means another one is
	// refused, so that two names with one address can't make a quorum of one disk.
	// Default: none, callers are not refused for it.
	Name string
	// ReadsMax is how many reads run at a time, so that replicas that catch up leave
	// the processor and the disk to appends; others wait. Default 4; at least 1.
	ReadsMax int
	// ReadBytesMax bounds what one read returns, unless a single record is larger.
	// Default 4 MiB; at least 4 KiB.
	ReadBytesMax int
}

// Host serves one storage to servers and operators over gRPC. Make it with
// NewHost. All methods may be called concurrently.
type Host struct {
	o         HostOptions
	logger    *slog.Logger
	pool      *bufpool.Pool
	reads     chan struct{}
	running   context.Context // streams are to end when it does
	stop      context.CancelFunc
	receivers sync.WaitGroup // of append streams
	failed    chan struct{}  // closed when the storage has failed
	watching  sync.WaitGroup

	mu struct {
		sync.Mutex
		storage *Storage  // nil: it belongs to no cluster yet
		empty   io.Closer // lock of the folder until it does
		stopped bool
	}
}

// NewHost opens the storage, unless its folder is empty and the options name no
// cluster: then the first server that calls says which one it is.
func NewHost(ctx context.Context, o HostOptions) (*Host, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Host{o: o, logger: o.Storage.Logger, pool: bufpool.New(), reads: make(chan struct{}, o.ReadsMax), failed: make(chan struct{})}
	h.running, h.stop = context.WithCancel(context.Background())
	key, err := h.clusterKey()
	switch {
	case err == nil && key != "":
		err = h.open(ctx, key)
	case err == nil:
		err = h.reserve()
	}
	if err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

func (o HostOptions) withDefaults() (HostOptions, error) {
	checked := o.Storage
	if checked.ClusterKey == "" {
		checked.ClusterKey = "any" // the only thing that may be missing
	}
	checked, err := checked.withDefaults()
	o.Storage.FS, o.Storage.Logger = checked.FS, checked.Logger
	errs := []error{err}
	bound(&errs, "ReadsMax", &o.ReadsMax, 4, 1)
	bound(&errs, "ReadBytesMax", &o.ReadBytesMax, 4<<20, 4<<10)
	if o.Name != "" {
		o.Storage.Logger = o.Storage.Logger.With("storage", o.Name)
	}
	return o, errors.Join(errs...)
}

const (
	// The windows hold what a server may send ahead of the disk. A few messages of
	// records, so that what a slow disk can't take waits in the server, which bounds
	// it for each storage.
	streamWindow     = 4 << 20
	connectionWindow = 8 << 20
	socketBuffer     = 256 << 10
	headerBytesMax   = 16 << 10
	streamsMax       = 10_000
	messageMax       = record.DataMax + 1<<20 // one record may be that large
	keepaliveIdle    = 10 * time.Second
	keepaliveTimeout = 5 * time.Second
	keepaliveMin     = time.Second
)

// GRPCOptions returns the options that a gRPC server must be made with to host
// this service. Further ones (credentials, interceptors) may be added.
func (h *Host) GRPCOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(wire.Codec()),
		experimental.BufferPool(h.pool),
		grpc.MaxRecvMsgSize(messageMax),
		grpc.MaxSendMsgSize(messageMax),
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

// Register adds the services to a gRPC server, which must have been made with
// GRPCOptions.
func (h *Host) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(serviceDesc(), &service{Host: h})
	storagepb.RegisterStorageAdminServer(r, &adminService{Host: h})
	healthpb.RegisterHealthServer(r, &healthService{host: h})
}

// Storage returns the storage, nil as long as it belongs to no cluster.
func (h *Host) Storage() *Storage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.storage
}

// Failed is closed when the storage has failed; Err tells why. It does not recover:
// end the process.
func (h *Host) Failed() <-chan struct{} { return h.failed }

// Err returns why the storage failed; nil if it did not.
func (h *Host) Err() error {
	if st := h.Storage(); st != nil {
		return st.Err()
	}
	return nil
}

// Stop ends all streams and closes the storage. What was taken is written. The
// gRPC server is to be stopped afterwards; calls that come until then are refused.
// It may be called more than once.
func (h *Host) Stop() error {
	h.mu.Lock()
	h.mu.stopped = true
	st := h.mu.storage
	err := h.releaseLocked()
	h.mu.Unlock()
	h.stop()
	h.awaitReceivers()
	if st != nil {
		err = st.Close()
	}
	h.watching.Wait()
	return err
}

// streamEndMax is how long Stop waits for append streams to end; one whose server
// does not take its answers ends with the gRPC server only.
const streamEndMax = time.Second

func (h *Host) awaitReceivers() {
	late := time.NewTimer(streamEndMax)
	defer late.Stop()
	ended := make(chan struct{})
	go func() { // ends with the last stream
		h.receivers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-late.C:
	}
}

// goReceive runs the receiver of a stream. Once the service is being stopped there
// is no new one, since Stop may wait for the last of them already.
func (h *Host) goReceive(receive func()) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.stopped {
		return ErrClosed
	}
	h.receivers.Go(receive)
	return nil
}

// watch tells of a storage that has failed.
func (h *Host) watch(st *Storage) {
	<-st.Done()
	if st.Err() != nil {
		close(h.failed)
	}
}

// service is the contract's side of a Host, kept off its public methods.
type service struct {
	storagepb.UnimplementedStorageServer
	*Host
}

// healthService answers supervisors: serving means that it belongs to a cluster
// and that its disk has not failed. Watch is left out.
type healthService struct {
	healthpb.UnimplementedHealthServer
	host *Host
}

// Check implements gRPC's health protocol.
func (h *healthService) Check(context.Context, *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	status := healthpb.HealthCheckResponse_SERVING
	if st := h.host.Storage(); st == nil || st.Err() != nil {
		status = healthpb.HealthCheckResponse_NOT_SERVING
	}
	return &healthpb.HealthCheckResponse{Status: status}, nil
}

// Describe implements the contract.
func (s *service) Describe(context.Context, *storagepb.DescribeRequest) (*storagepb.DescribeResponse, error) {
	r := &storagepb.DescribeResponse{Name: s.o.Name}
	st := s.Storage()
	if st == nil {
		return r, nil
	}
	r.ClusterKey, r.Start, r.Full = st.o.ClusterKey, uint64(st.start), st.diskFull()
	if err := st.Err(); err != nil {
		r.Failed = fmt.Sprint(err)
	}
	return r, nil
}
