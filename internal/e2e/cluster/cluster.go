package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
	"github.com/waltz-log/waltz/server"
	"github.com/waltz-log/waltz/storage"
	"github.com/waltz-log/waltz/waltz"
)

// Options of a cluster; the zero value is three storages in memory with one
// partition.
type Options struct {
	Storages   int    // default 3
	Partitions int    // default 1
	Target     int    // so many of the storages, the first ones, have the partitions; default: all
	Key        string // of the cluster; default "cluster"
	// Disk is the folder on the operating system's file system below which storages
	// have theirs; default: each has a file system in memory.
	Disk    string
	Storage func(*storage.Options) // changes each storage's options
	Server  func(*server.Options)  // changes each server's options
	Logger  *slog.Logger           // default: none
}

func (o *Options) key() string {
	if o.Key == "" {
		return "cluster"
	}
	return o.Key
}

func (o *Options) dir(storage string) string {
	if o.Disk == "" {
		return storageDir
	}
	return filepath.Join(o.Disk, storage)
}

// Small makes storages whose files are small, so that a short test fills many.
func Small(o *storage.Options) {
	o.JournalFileBytes, o.SegmentBytes, o.FlushBytes, o.RetryInterval = 256<<10, 64<<10, 32<<10, 5*time.Millisecond
}

// Cluster is storages, servers and metadata. Its methods are for one goroutine at
// a time, except Front and what dials.
type Cluster struct {
	Meta     *local.Store // as it is; servers have ways to it that can fail
	Storages []*Storage
	Servers  []*Server // all that were started

	t          testing.TB
	o          Options
	generation int64
	outage     Outage
	changes    changes
	operator   *admin.Cluster // nil: Operate was not called yet

	mu    sync.Mutex
	front *Server // whom clients are led to
}

// New starts the storages of a new cluster, and no server. The test's end stops
// all.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Storages == 0 {
		o.Storages = 3
	}
	if o.Partitions == 0 {
		o.Partitions = 1
	}
	c := &Cluster{Meta: local.NewMemory(), t: t, o: o}
	var target []string
	for i := range o.Storages {
		s := &Storage{Name: fmt.Sprintf("s%d", i+1), t: t, o: &c.o, Disk: vfs.FS(vfs.OS{})}
		if o.Disk == "" {
			s.Disk = vfs.NewMem()
		}
		c.Storages = append(c.Storages, s)
		target = append(target, s.Name)
	}
	if o.Target > 0 {
		target = target[:o.Target]
	}
	require.NoError(t, metadata.Create(t.Context(), c.Meta, metadata.Cluster{Key: o.key(), Name: "test", Partitions: o.Partitions}, target))
	t.Cleanup(c.stop)
	for _, s := range c.Storages {
		s.Start()
	}
	return c
}

func (c *Cluster) stop() {
	for _, s := range c.Servers {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		s.Stop(ctx)
		cancel()
	}
	for _, s := range c.Storages {
		s.Stop()
	}
}

// StartServer starts a server with a higher generation than all before, to which
// clients are led from now on. Those that run go on until they hear of it.
func (c *Cluster) StartServer() *Server {
	c.t.Helper()
	c.generation++
	s := c.newServer(c.generation)
	c.Servers = append(c.Servers, s)
	c.mu.Lock()
	c.front = s
	c.mu.Unlock()
	return s
}

// Suffer begins an outage of the metadata for all servers, also for those that are
// started from now on, or ends it with [NoOutage].
func (c *Cluster) Suffer(o Outage) {
	c.outage = o
	for _, s := range c.Servers {
		s.Metadata.Suffer(o)
	}
}

// Front returns the server that clients are led to.
func (c *Cluster) Front() *Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.front
}

// Dial makes a client that is led to the front server, whichever that is when it
// connects. The test's end closes it.
func (c *Cluster) Dial() *waltz.Client {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	client, err := waltz.Dial(ctx, "test://", waltz.WithSchemes(waltz.Scheme{Name: "test", Open: func(context.Context, *url.URL) (waltz.Transport, error) {
		return waltz.Transport{Addresses: []string{"front:1"}, Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return c.Front().Clients.Dial(ctx, addr)
		}}, nil
	}}))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// M returns what the metadata has of a partition.
func (c *Cluster) M(p txn.Partition) metadata.PartitionState {
	m, _, err := metadata.LoadPartition(context.Background(), c.Meta, p)
	require.NoError(c.t, err)
	return m
}

// Whole waits until the front server is ready and every storage is a member that
// counts, in every partition.
func (c *Cluster) Whole(within time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(c.t, c.Front().Ready(ctx))
	require.Eventually(c.t, func() bool {
		for _, p := range c.Front().Stats().Partitions {
			if r := p.Replicas; r.Counting < len(c.M(p.Partition).Target) || r.CatchingUp > 0 || !c.whole(p.Partition) {
				return false
			}
		}
		return true
	}, within, 5*time.Millisecond, "not all members count")
}

func (c *Cluster) whole(p txn.Partition) bool {
	m := c.M(p)
	for _, member := range m.Members {
		if member.Installed != m.Opened || m.Opened != m.Session {
			return false
		}
	}
	return len(m.Members) == len(m.Target)
}

// Equal waits until every storage of the target holds a partition's log up to last,
// and compares them byte by byte (I2).
func (c *Cluster) Equal(p txn.Partition, last txn.ID, within time.Duration) {
	c.t.Helper()
	var first record.Frame
	for _, s := range c.Storages {
		if !slices.Contains(c.M(p).Target, s.Name) {
			continue
		}
		require.Eventually(c.t, func() bool {
			l, err := s.Last(p)
			return err == nil && l >= last
		}, within, 5*time.Millisecond, "storage %s has not got partition %d up to %d", s.Name, p, last)
		got, err := s.Records(context.Background(), p, last)
		require.NoError(c.t, err)
		if first == nil {
			first = got
			require.NoError(c.t, ordered(got), "partition %d", p)
		}
		require.True(c.t, string(first) == string(got), "replicas of partition %d on %s and %s differ", p, c.Storages[0].Name, s.Name)
	}
}

// describe says what is known of a cluster that does not do what it should.
func (c *Cluster) describe() string {
	var b strings.Builder
	for _, p := range c.Front().Stats().Partitions {
		fmt.Fprintf(&b, "front server: %+v\n", p)
		if l, ok := c.Front().Leader(p.Partition); ok {
			fmt.Fprintf(&b, "    %+v\n", l)
		}
		fmt.Fprintf(&b, "    metadata: %+v\n", c.M(p.Partition))
		for _, s := range c.Storages {
			fmt.Fprintf(&b, "    %s\n", s.describe(p.Partition))
		}
	}
	fmt.Fprintf(&b, "outage of the metadata: %d", c.outage)
	return b.String()
}

// ordered reports an error if IDs have gaps, or if stamps or timestamps go back (I2,
// I3).
func ordered(f record.Frame) error {
	next, before := txn.ID(0), record.Record{}
	for r := range f.Trusted() {
		if r.ID != next || r.Stamp < before.Stamp || r.Time < before.Time {
			return fmt.Errorf("transaction %d of session %d at %d follows %d of session %d at %d", r.ID, r.Stamp, r.Time, before.ID, before.Stamp, before.Time)
		}
		next, before = next+1, r
	}
	return nil
}
