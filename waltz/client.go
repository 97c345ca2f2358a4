package waltz

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz/internal/codec"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// Client is a connection to a log: to all its servers, for all its partitions.
// One is enough for a process. All methods may be called concurrently.
//
// State and owners: mu guards the books of unanswered appends and the links,
// and is never held over I/O or a hook. Each link has a goroutine that receives
// and one that sends; one router learns who owns what. Close ends them all.
type Client struct {
	opts      options
	log       *slog.Logger
	transport Transport
	cluster   cluster
	pool      *codec.Pool
	known     []atomic.Int64 // by partition: highest ID known to be committed

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	router *router

	mu      sync.Mutex
	closed  bool
	monitor *monitor.Monitor
	links   map[string]*link
	routes  []*link                      // by partition; nil: no owner known
	routed  chan struct{}                // closed and replaced when routes change
	ailing  map[Partition]monitor.Reason // why partitions refuse for now

	calls sync.Pool // of *attempt
}

// cluster is what never changes about a log.
type cluster struct {
	key        string
	name       string
	partitions int
	limits     Limits
}

// Limits are what servers accept.
type Limits struct {
	DataBytesMax  int64 // of one transaction
	LocksMax      int   // of one transaction, all modes together
	GroupBytesMax int64 // of one message of appends, which bounds one transaction with its locks and key
}

// LogID is the identity of the log: the key of its cluster, made when the log
// was created. Another log never has it.
func (c *Client) LogID() string { return c.cluster.key }

// Name is the cluster's name, for people.
func (c *Client) Name() string { return c.cluster.name }

// Partitions returns how many partitions the log has. It never changes.
func (c *Client) Partitions() int { return c.cluster.partitions }

// Limits returns what servers accept.
func (c *Client) Limits() Limits { return c.cluster.limits }

// PartitionFor maps a key to its partition.
func (c *Client) PartitionFor(key string) Partition {
	return c.opts.partitioner(key, c.cluster.partitions)
}

// check reports a partition that the log doesn't have.
func (c *Client) check(p Partition) error {
	if p < 0 || int(p) >= c.cluster.partitions {
		return noPartition(p, c.cluster.partitions)
	}
	return nil
}

// learn raises the highest ID known to be committed in a partition.
func (c *Client) learn(p Partition, id txn.ID) {
	known := &c.known[p]
	for old := known.Load(); int64(id) > old; old = known.Load() {
		if known.CompareAndSwap(old, int64(id)) {
			return
		}
	}
}

// Close ends everything: connections, subscriptions and waiting calls. Appends
// that have no answer end with an [*UnknownError] that wraps [ErrClosed]. It
// returns when every goroutine of the client has ended. Calling it again is harmless.
func (c *Client) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	waiting := c.shutLocked()
	c.mu.Unlock()
	for _, a := range waiting {
		notify(a.Shell.(*attempt).wake)
	}
	c.cancel()
	c.tasks.Wait()
	if !first {
		return nil
	}
	c.mu.Lock()
	links := c.links
	c.links = nil
	c.mu.Unlock()
	for _, l := range links {
		_ = l.conn.Close() // the process's own end; nothing is left to tell
	}
	return closeTransport(c.transport)
}

// shutLocked takes all appends out of the books.
func (c *Client) shutLocked() []*monitor.Attempt {
	if c.monitor == nil {
		return nil
	}
	var lanes []*monitor.Lane
	for _, l := range c.links {
		lanes = append(lanes, l.lane)
	}
	return c.monitor.Shut(lanes)
}

// spawn runs a goroutine that Close waits for.
func (c *Client) spawn(f func()) {
	c.tasks.Add(1)
	go func() {
		defer c.tasks.Done()
		f()
	}()
}
