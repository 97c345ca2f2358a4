package server

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server/internal/feed"
	"github.com/waltz-log/waltz/server/internal/partition"
	"github.com/waltz-log/waltz/server/internal/store"
)

// Server owns partitions and serves clients. Make it with New. All methods may
// be called concurrently, and Start and Stop more than once.
type Server struct {
	o     Options
	cache *feed.Cache
	// sessions are the last ones that were opened, by partition; the next one takes
	// over what they have prepared.
	sessions []atomic.Pointer[store.Session]

	mu struct {
		sync.RWMutex
		started, stopped bool
		partitions       []*partition.Partition // by number; nil: not owned
		tails            []*feed.Tail
		subscribers      int
	}
	running   context.Context // streams are to end when it does
	stop      context.CancelFunc
	receivers sync.WaitGroup // of append streams
}

// New makes a server that does nothing yet. The error names every mistake in
// the options.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{o: o, cache: feed.NewCache(o.CacheBytesMax)}
	s.running, s.stop = context.WithCancel(context.Background())
	if s.o.open == nil {
		s.o.open = s.openSession
	}
	s.sessions = make([]atomic.Pointer[store.Session], o.Partitions)
	s.mu.partitions = make([]*partition.Partition, o.Partitions)
	s.mu.tails = make([]*feed.Tail, o.Partitions)
	return s, nil
}

func (s *Server) openSession(ctx context.Context, p txn.Partition, committed func(txn.ID)) (partition.Session, error) {
	last := s.sessions[p].Swap(nil)
	session, err := store.Open(ctx, store.Config{
		Partition: p, Generation: s.o.Generation, Metadata: s.o.Metadata, Replicas: s.o.Replicas, Find: s.o.Find,
		Prepared: last.Prepared(),
		Events:   store.Events{Committed: committed}, Logger: s.o.Logger, QueueMax: 2 * s.o.InFlightBytesMax,
		HealEvery: s.o.HealEvery,
	})
	if err != nil {
		return nil, err
	}
	s.sessions[p].Store(session)
	return session, nil
}

// Register adds the services to a gRPC server, which must have been made with
// GRPCOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	clientpb.RegisterWaltzServer(r, &service{Server: s})
	healthpb.RegisterHealthServer(r, &health{server: s})
}

// Start takes up all partitions and returns at once; Ready tells when they can
// be appended to.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.started || s.mu.stopped {
		return
	}
	s.mu.started = true
	for i := range s.mu.partitions {
		tail := s.cache.NewTail()
		s.mu.tails[i] = tail
		s.mu.partitions[i] = partition.New(s.partitionOptions(txn.Partition(i), tail))
	}
}

func (s *Server) partitionOptions(p txn.Partition, tail *feed.Tail) partition.Options {
	return partition.Options{
		Partition: p, Open: s.o.open, Tail: tail, Logger: s.o.Logger, Now: s.o.Now,
		DataBytesMax: s.o.DataBytesMax, LocksMax: s.o.LocksMax,
		InboxBytesMax: s.o.InboxBytesMax, InFlightBytesMax: s.o.InFlightBytesMax, FrameBytesMax: s.o.FrameBytesMax,
		WindowTransactions: windowTransactions, LockMarksMax: s.o.LockMarksMax,
		SearchAttemptsMax: searchAttemptsMax, SearchBytesMax: s.o.InboxBytesMax,
		StallMax: stallMax, ReopenFirst: s.o.ReopenFirst, ReopenMax: s.o.ReopenMax, ReopenDamaged: max(reopenDamaged, s.o.ReopenMax),
	}
}

// searchAttemptsMax is how many old resends of one partition may wait for its
// log to be searched.
const searchAttemptsMax = 1 << 12

// stallMax is how long transactions in flight wait for storages that are full
// before their clients hear of it.
const stallMax = 500 * time.Millisecond

// reopenDamaged is how often a session is tried for that damage kept from being
// opened. Each try claims a number in the metadata; storages are not restored that
// often.
const reopenDamaged = 30 * time.Second

// readyPoll is how often Ready looks.
const readyPoll = 2 * time.Millisecond

// Ready returns nil when every partition is open, a *[DamagedError] when every
// other one is, and when ctx ends why they are not.
func (s *Server) Ready(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := s.notReady()
		if _, damaged := errors.AsType[*DamagedError](err); err == nil || damaged {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-s.running.Done():
			return errStopping()
		case <-tick.C:
		}
	}
}

// notReady returns why the first partition that is not open, and may yet be, is
// not; if there is none, a *DamagedError of those that stay closed.
func (s *Server) notReady() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.mu.started || s.mu.stopped {
		return errors.New("server is not running")
	}
	var closed DamagedError
	for i, p := range s.mu.partitions {
		err := p.Ready()
		if _, damaged := errors.AsType[*partition.DamagedError](err); err != nil && !damaged {
			return err
		}
		if err != nil {
			closed.Partitions, closed.Errs = append(closed.Partitions, txn.Partition(i)), append(closed.Errs, err)
		}
	}
	if len(closed.Partitions) == 0 {
		return nil
	}
	return &closed
}

// serving reports whether all that can be served is, and that is something.
func (s *Server) serving() bool {
	err := s.notReady()
	closed, damaged := errors.AsType[*DamagedError](err)
	return err == nil || damaged && len(closed.Partitions) < s.o.Partitions
}

// Stop refuses new transactions, waits until what is in flight is committed and
// answered, gives up the partitions, and ends all streams. When ctx ends first,
// what is in flight stays unanswered; the error says in which partitions. A
// stream whose client does not take its answers ends with the gRPC server only.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	s.mu.stopped = true
	var open []*partition.Partition
	if s.mu.started {
		open = s.mu.partitions
	}
	s.mu.Unlock()
	err := closeAll(ctx, open)
	s.stop()
	s.awaitReceivers(ctx)
	return err
}

// streamEndMax is how long Stop waits for append streams to end.
const streamEndMax = time.Second

func (s *Server) awaitReceivers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, streamEndMax)
	defer cancel()
	ended := make(chan struct{})
	go func() { // ends with the last stream
		s.receivers.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

func closeAll(ctx context.Context, partitions []*partition.Partition) error {
	errs := make([]error, len(partitions))
	var wg sync.WaitGroup
	for i, p := range partitions {
		wg.Go(func() { errs[i] = p.Close(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// partition returns an owned partition, or why there is none.
func (s *Server) partition(p txn.Partition) (*partition.Partition, *feed.Tail, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case p < 0 || int(p) >= s.o.Partitions:
		return nil, nil, wire.Refuse(wire.NoPartition, "%d, the log has 0 to %d", p, s.o.Partitions-1)
	case s.mu.stopped:
		return nil, nil, errStopping()
	case s.mu.partitions[p] == nil:
		return nil, nil, wire.Refuse(wire.NotOwner, "partition %d", p)
	}
	return s.mu.partitions[p], s.mu.tails[p], nil
}

// checkCluster refuses a client of another cluster. An empty key is any.
func (s *Server) checkCluster(key string) error {
	if key == "" || key == s.o.ClusterKey {
		return nil
	}
	return wire.Refuse(wire.OtherCluster, "the client wants the log with key %q, this is %q", key, s.o.ClusterKey)
}

func errStopping() error { return wire.Refuse(wire.ShuttingDown, "send it again, elsewhere or later") }
