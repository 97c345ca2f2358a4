package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/memnet"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/server"
)

// ErrClosed is what Err returns after Close.
var ErrClosed = errors.New("embedded Waltz is closed")

// Waltz is a running node. Make it with Open. All methods may be called
// concurrently.
type Waltz struct {
	o       Options
	cluster metadata.Cluster
	folder  *folder // lock, metadata and storage
	server  *server.Server
	grpc    *grpc.Server
	memory  *memnet.Listener
	tcp     net.Listener // nil: none
	serving sync.WaitGroup
	damaged *server.DamagedError // partitions that Open found to stay closed; nil: none

	closing   sync.Once
	closeErr  error
	mu        sync.Mutex // guards err
	err       error
	done      chan struct{}
	stopWatch chan struct{}
}

// Open starts a node on a folder and returns when all its partitions can be
// appended to, or with what is in the way: *[LockedError], *[PartitionsError],
// *[NoLogError], *[LogExistsError], *[LostError], or a *[server.DamagedError] if
// damage keeps every partition closed. If it keeps some closed, [Waltz.Damaged]
// tells which, and the others are served. ctx bounds Open only.
func Open(ctx context.Context, o Options) (*Waltz, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open embedded Waltz: %w", err)
	}
	w := &Waltz{o: o, done: make(chan struct{}), stopWatch: make(chan struct{}), memory: memnet.Listen("embedded")}
	if err := w.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open embedded Waltz in %s: %w", o.Dir, err), w.abandon())
	}
	w.serving.Go(w.watch)
	return w, nil
}

// start brings up listeners, storage and server. Who connects before all is up waits. What it has started by an error
// is left for abandon.
func (w *Waltz) start(ctx context.Context) (err error) {
	if w.o.Listen != "" { // first: an address that is taken must not leave a new log behind
		if w.tcp, err = new(net.ListenConfig).Listen(ctx, "tcp", w.o.Listen); err != nil {
			return fmt.Errorf("listen on %s: %w", w.o.Listen, err)
		}
	}
	if w.folder, err = openFolder(ctx, w.o); err != nil {
		return err
	}
	w.cluster = w.folder.cluster
	if w.server, err = server.New(w.serverOptions()); err != nil {
		return err
	}
	w.server.Start()
	ready, cancel := context.WithTimeout(ctx, w.o.ReadyMax)
	defer cancel()
	if err := w.ready(ready); err != nil {
		return err
	}
	w.serve()
	return nil
}

// ready waits until all partitions are open, but for those that damage keeps
// closed, or the storage has failed. It is an error if there are no others.
func (w *Waltz) ready(ctx context.Context) error {
	ctx, cancel := w.untilFailed(ctx)
	defer cancel()
	err := w.server.Ready(ctx)
	if d, damaged := errors.AsType[*server.DamagedError](err); damaged && len(d.Partitions) < w.cluster.Partitions {
		w.damaged, err = d, nil
		w.o.Logger.Error("damaged partitions stay closed, the others are served", "dir", w.o.Dir, "closed", d.Partitions, "of", w.cluster.Partitions)
	}
	if err != nil {
		return errors.Join(err, w.folder.storage.Err())
	}
	return nil
}

// untilFailed returns a context that ends with ctx, or when the storage has
// failed. cancel returns when nothing of it runs any more.
func (w *Waltz) untilFailed(ctx context.Context) (_ context.Context, cancel func()) {
	ctx, end := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-w.folder.storage.Done():
			end()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		end()
		watching.Wait()
	}
}

func (w *Waltz) serverOptions() server.Options {
	o := w.o.Server
	o.ClusterKey, o.ClusterName, o.Partitions = w.cluster.Key, w.cluster.Name, w.cluster.Partitions
	o.Metadata = w.folder.metadata
	o.Replicas = map[string]server.Replica{storageName: w.folder.storage}
	if o.Logger == nil {
		o.Logger = w.o.Logger
	}
	return o
}

func (w *Waltz) serve() {
	w.grpc = grpc.NewServer(w.server.GRPCOptions()...)
	w.server.Register(w.grpc)
	w.serveOn(w.memory)
	if w.tcp != nil {
		w.serveOn(w.tcp)
	}
}

func (w *Waltz) serveOn(l net.Listener) {
	w.serving.Go(func() {
		if err := w.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			w.fail(fmt.Errorf("serve on %s: %w", l.Addr(), err))
		}
	})
}

// watch ends the node when the storage fails: a failed fsync is final, and
// whoever embeds us must hear of it.
func (w *Waltz) watch() {
	select {
	case <-w.folder.storage.Done():
		w.fail(fmt.Errorf("storage in %s failed: %w", w.o.Dir, w.folder.storage.Err()))
	case <-w.stopWatch:
	}
}

// fail ends the node once; Close still has to be called.
func (w *Waltz) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err = err
	close(w.done)
	if !errors.Is(err, ErrClosed) {
		w.o.Logger.Error("embedded Waltz failed", "dir", w.o.Dir, "error", err)
	}
}

// Done is closed when the node has failed or was closed; Err tells why.
func (w *Waltz) Done() <-chan struct{} { return w.done }

// Err returns why the node ended, [ErrClosed] after Close, nil while it runs.
func (w *Waltz) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Dial connects to the node in memory. addr is ignored.
func (w *Waltz) Dial(ctx context.Context, _ string) (net.Conn, error) { return w.memory.Dial(ctx) }

// Addr returns the TCP address that is served, nil if none is.
func (w *Waltz) Addr() net.Addr {
	if w.tcp == nil {
		return nil
	}
	return w.tcp.Addr()
}

// Cluster returns the identity of the log.
func (w *Waltz) Cluster() metadata.Cluster { return w.cluster }

// Damaged returns which partitions Open found to stay closed for damage, and why;
// nil if all were opened.
func (w *Waltz) Damaged() *server.DamagedError { return w.damaged }

// Server returns the server, for its statistics and metrics.
func (w *Waltz) Server() *server.Server { return w.server }

// Collectors returns the Prometheus metrics of the server and of the storage.
func (w *Waltz) Collectors() []prometheus.Collector {
	return []prometheus.Collector{w.server.Collector(), w.folder.storage.Collector()}
}

// Close answers what is in flight, ends all connections, and gives the folder
// back. When ctx ends first, or the storage has failed, what is in flight stays
// unanswered. Calling it again returns the first call's error, when that is
// finished.
func (w *Waltz) Close(ctx context.Context) error {
	w.closing.Do(func() {
		w.fail(ErrClosed)
		close(w.stopWatch)
		ctx, cancel := w.untilFailed(ctx)
		err := w.server.Stop(ctx)
		cancel()
		w.grpc.Stop()
		w.serving.Wait()
		w.closeErr = errors.Join(err, w.folder.close())
	})
	return w.closeErr
}

// abandon undoes what start has done before it failed.
func (w *Waltz) abandon() error {
	var errs []error
	if w.server != nil {
		stopped, cancel := context.WithCancel(context.Background())
		cancel() // nobody has been served, nothing is in flight
		if err := w.server.Stop(stopped); err != nil && !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	if w.tcp != nil {
		errs = append(errs, w.tcp.Close())
	}
	errs = append(errs, w.memory.Close())
	if w.folder != nil {
		errs = append(errs, w.folder.close())
	}
	return errors.Join(errs...)
}
