package waltztest

import (
	"context"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/memnet"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/storage"
	"github.com/waltz-log/waltz/waltz"
)

// Address is what code under test dials, with [Log.Scheme].
const Address = "waltztest://log"

// setupMax bounds the start and the end of a log, and what it does for a test.
const setupMax = 30 * time.Second

// journalBytes is the size of a journal file, which is filled with zeros first.
const journalBytes = 1 << 20

// Option changes the log that New starts.
type Option interface{ apply(*options) }

type options struct{ partitions int }

type optionFunc func(*options)

func (f optionFunc) apply(o *options) { f(o) }

// WithPartitions sets how many partitions the log has. Default: 1.
func WithPartitions(n int) Option { return optionFunc(func(o *options) { o.partitions = n }) }

// Log is a log in memory, with faults. All methods may be called concurrently.
type Log struct {
	t      testing.TB
	faults *faults
	memory *memnet.Listener // of the proxy
	direct *waltz.Client    // past the faults
}

// New starts an empty log that ends with the test.
func New(t testing.TB, opts ...Option) *Log {
	t.Helper()
	var o options
	for _, opt := range opts {
		opt.apply(&o)
	}
	l := &Log{t: t, faults: newFaults(), memory: memnet.Listen("waltztest")}
	ctx, cancel := context.WithTimeout(context.Background(), setupMax)
	defer cancel()
	node, err := embedded.Open(ctx, embedded.Options{
		Dir: "/log", FS: vfs.NewMem(), Mode: embedded.CreateNew, Partitions: o.partitions, ClusterName: "waltztest",
		Storage: storage.Options{JournalFileBytes: journalBytes}, // a test's log is small, and its files are memory
	})
	if err != nil {
		t.Fatalf("waltztest: %v", err)
	}
	t.Cleanup(func() { l.check(closeNode(node)) })
	l.startProxy(node)
	l.direct = l.dial(node.Dial)
	return l
}

func closeNode(node *embedded.Waltz) error {
	ctx, cancel := context.WithTimeout(context.Background(), setupMax)
	defer cancel()
	return node.Close(ctx)
}

func (l *Log) check(err error) {
	if err != nil {
		l.t.Errorf("waltztest: %v", err)
	}
}

// Scheme makes waltz.Dial understand [Address] as this log.
func (l *Log) Scheme() waltz.Scheme {
	return scheme(func(ctx context.Context, _ string) (net.Conn, error) { return l.memory.Dial(ctx) })
}

func scheme(dial func(context.Context, string) (net.Conn, error)) waltz.Scheme {
	return waltz.Scheme{Name: "waltztest", Open: func(context.Context, *url.URL) (waltz.Transport, error) {
		return waltz.Transport{Addresses: []string{"log"}, Dial: dial}, nil
	}}
}

// Client returns a new client of the log, which is closed with the test. Its
// appends and feeds meet the faults.
func (l *Log) Client(opts ...waltz.Option) *waltz.Client {
	l.t.Helper()
	return l.dial(func(ctx context.Context, _ string) (net.Conn, error) { return l.memory.Dial(ctx) }, opts...)
}

func (l *Log) dial(way func(context.Context, string) (net.Conn, error), opts ...waltz.Option) *waltz.Client {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), setupMax)
	defer cancel()
	c, err := waltz.Dial(ctx, Address, append(slices.Clone(opts), waltz.WithSchemes(scheme(way)))...)
	if err != nil {
		l.t.Fatalf("waltztest: %v", err)
	}
	l.t.Cleanup(func() { l.check(c.Close()) })
	return c
}

// Append commits a transaction past the faults, as another application would, and
// fails the test if the log refuses it. It makes real conflicts.
func (l *Log) Append(p waltz.Partition, tx waltz.Transaction) waltz.ID {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), setupMax)
	defer cancel()
	id, err := l.direct.Append(ctx, p, tx)
	if err != nil {
		l.t.Fatalf("waltztest: %v", err)
	}
	return id
}

// All returns everything that a partition has committed.
func (l *Log) All(p waltz.Partition) []waltz.Committed {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), setupMax)
	defer cancel()
	mark, err := l.direct.HighWaterMark(ctx, p)
	if err != nil {
		l.t.Fatalf("waltztest: %v", err)
	}
	var all []waltz.Committed
	for tx, err := range l.direct.Read(ctx, p, 0, mark) {
		if err != nil {
			l.t.Fatalf("waltztest: %v", err)
		}
		all = append(all, tx)
	}
	return all
}

// FailNextAppend makes one append fail, of those that are coming: with each call
// one more. The error says how:
//
//   - [*waltz.LockConflictError], [*waltz.StaleError]: refused with their IDs,
//     as by another's transaction.
//   - [waltz.ErrTooLarge], [waltz.ErrTooManyLocks], [waltz.ErrInvalid]: refused
//     for good.
//   - [waltz.ErrUnavailable], [waltz.ErrStorageFull]: refused for now; the
//     client waits and sends it again by itself.
//   - [ErrRequestLost], [ErrAnswerLost]: the connection breaks.
func (l *Log) FailNextAppend(err error) {
	l.t.Helper()
	fault, wrong := faultOf(err)
	if wrong != nil {
		l.t.Fatal(wrong)
	}
	l.faults.expect(fault, 1)
}

// ForceLockConflict refuses the next n appends with a lock conflict, which names
// the transaction that was committed last.
func (l *Log) ForceLockConflict(n int) {
	l.faults.expect(refuse(wire.LockConflict, waltz.None, false), n)
}

// FailAppends makes appends fail at random, at a rate from 0 (none, and the end
// of it) to 1 (all): a quarter each by a lost request, a lost answer, a log that is
// unavailable, and a lock conflict. The seed decides which; how appends reach the
// log in time decides to whom it happens.
func (l *Log) FailAppends(rate float64, seed uint64) {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	l.faults.rate, l.faults.rng = rate, rand.New(rand.NewPCG(seed, seed))
}

// Delay makes every append reach the log that much later; 0 ends it.
func (l *Log) Delay(d time.Duration) {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	l.faults.delay = d
}

// SuspendFeed stops all subscriptions where they are, until [Log.ResumeFeed].
// Appends and reads go on, so views fall behind.
func (l *Log) SuspendFeed() {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	if l.faults.runs() {
		l.faults.resumed = make(chan struct{})
	}
}

// ResumeFeed lets subscriptions go on.
func (l *Log) ResumeFeed() {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	if !l.faults.runs() {
		close(l.faults.resumed)
	}
}
