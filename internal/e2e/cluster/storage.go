package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/memnet"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

const storageDir = "/storage"

// Storage is a storage process and its machine. Its methods are for one goroutine
// at a time.
type Storage struct {
	Name string
	Disk vfs.FS // a *vfs.Mem unless Options.Disk made another

	t     testing.TB
	o     *Options
	links []*Link // of the servers to it, and of the operator
	net   *memnet.Listener
	host  *storage.Host
	grpc  *grpc.Server
	done  chan error
	delay atomic.Int64 // of each sync
}

// Running reports whether the process runs.
func (s *Storage) Running() bool { return s.host != nil }

// Mem returns the file system in memory.
func (s *Storage) Mem() *vfs.Mem { return s.Disk.(*vfs.Mem) }

// Start starts the process on what its disk holds.
func (s *Storage) Start() {
	s.t.Helper()
	require.NoError(s.t, s.TryStart())
}

// TryStart is Start with the error.
func (s *Storage) TryStart() error {
	o := storage.HostOptions{Name: s.Name, Storage: storage.Options{FS: s.Disk, Dir: s.o.dir(s.Name), Logger: s.o.Logger}}
	if s.o.Storage != nil {
		s.o.Storage(&o.Storage)
	}
	s.hook()
	h, err := storage.NewHost(context.Background(), o)
	if err != nil {
		return fmt.Errorf("start storage %s: %w", s.Name, err)
	}
	s.host, s.net, s.done = h, memnet.Listen(s.Name), make(chan error, 1)
	s.grpc = grpc.NewServer(h.GRPCOptions()...)
	h.Register(s.grpc)
	serve, on, done := s.grpc, s.net, s.done
	go func() { done <- serve.Serve(on) }()
	for _, l := range s.links {
		l.lead(s.net)
	}
	return nil
}

// Stop ends the process in an orderly way.
func (s *Storage) Stop() {
	if s.host == nil {
		return
	}
	err := s.host.Stop()
	if err != nil && !errors.Is(err, storage.ErrFailed) && !errors.Is(err, storage.ErrFull) {
		require.NoError(s.t, err, s.Name)
	}
	s.down()
}

// Crash stops the machine: what was not synced is lost, by the seed.
func (s *Storage) Crash(seed uint64) {
	s.vanish(func() vfs.FS { return s.Mem().CrashClone(seed) })
}

// Restart is Crash and Start.
func (s *Storage) Restart(seed uint64) {
	s.Crash(seed)
	s.Start()
}

// Kill ends the process; its machine, and what it wrote, stays.
func (s *Storage) Kill() { s.vanish(func() vfs.FS { return s.Mem().Clone() }) }

// vanish ends a process at once. First nothing it says gets out any more; then its
// disk is taken as it is, and what the process does after that is done to nobody's
// disk.
func (s *Storage) vanish(disk func() vfs.FS) {
	if s.host == nil {
		return
	}
	for _, l := range s.links {
		l.lead(nil)
		l.Break()
	}
	after := disk()
	s.Mem().SetSyncHook(nil)
	_ = s.host.Stop()
	s.down()
	s.Disk = after
}

func (s *Storage) down() {
	for _, l := range s.links {
		l.lead(nil)
	}
	s.grpc.Stop()
	require.NoError(s.t, <-s.done)
	_ = s.net.Close()
	s.host = nil
}

// Wipe gives a stopped storage an empty disk.
func (s *Storage) Wipe() { s.Disk = vfs.NewMem() }

// Links returns the ways to this storage, of each server and of the operator.
func (s *Storage) Links() []*Link { return s.links }

// Cut cuts it off from everybody; Mend undoes it.
func (s *Storage) Cut() {
	for _, l := range s.links {
		l.Cut()
	}
}

// Hold holds up everything between it and everybody; Mend undoes it.
func (s *Storage) Hold() {
	for _, l := range s.links {
		l.Hold()
	}
}

// Mend undoes Cut and Hold.
func (s *Storage) Mend() {
	for _, l := range s.links {
		l.Mend()
	}
}

// Records returns the bytes of a partition's records up to last, once the replica
// holds them.
func (s *Storage) Records(ctx context.Context, p txn.Partition, last txn.ID) (record.Frame, error) {
	var all record.Frame
	for next := txn.ID(0); next <= last; {
		f, err := s.host.Storage().Read(ctx, p, next, last, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("storage %s: %w", s.Name, err)
		}
		span, err := f.Check()
		if err != nil {
			return nil, fmt.Errorf("storage %s: %w", s.Name, err)
		}
		all, next = append(all, f...), span.Last+1
	}
	return all, nil
}

// Last returns the last record of a replica.
func (s *Storage) Last(p txn.Partition) (txn.ID, error) {
	st := s.host.Storage()
	if st == nil {
		return txn.None, storage.ErrNoReplica
	}
	state, err := st.State(p)
	if err != nil {
		return txn.None, err
	}
	return state.Last, nil
}

// Host returns the process; nil while it does not run.
func (s *Storage) Host() *storage.Host { return s.host }

// Join makes a storage with an empty disk one of the cluster, as the first call of
// a server would.
func (s *Storage) Join() {
	s.t.Helper()
	if s.host.Storage() != nil {
		return
	}
	s.Stop()
	change := s.o.Storage
	defer func() { s.o.Storage = change }()
	s.o.Storage = func(o *storage.Options) {
		if change != nil {
			change(o)
		}
		o.ClusterKey = s.o.key()
	}
	s.Start()
}

// describe says what is known of a replica.
func (s *Storage) describe(p txn.Partition) string {
	if !s.Running() || s.host.Storage() == nil {
		return s.Name + " does not run"
	}
	st := s.host.Storage()
	state, err := st.State(p)
	return fmt.Sprintf("%s: %+v, full: %v, failed: %v, state: %v", s.Name, state, st.Full(), st.Err(), err)
}
