package applier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/waltz"
)

// Applier keeps a view in one database exact, and is the txcontext.View of
// transaction contexts that read it. The packages of the databases open one. All
// methods may be called concurrently.
type Applier[Tx, S any] struct {
	o          Options
	log        Log
	db         Database[Tx, S]
	identity   Identity
	handlers   []Handler[Tx]
	logger     *slog.Logger
	partitions []*partition[Tx, S]

	mu      sync.Mutex
	closed  bool
	running *run // nil: not running
}

// run is one call of Run.
type run struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// Open checks the options, seeds the marks of partitions that have none, and
// verifies that the view was made from this log. It takes ownership of db: Close
// closes it, and so does Open when it fails.
//
// Errors: wrong options or handlers, [*LogIdentityError], the database's.
func Open[Tx, S any](ctx context.Context, log Log, db Database[Tx, S], o Options, handlers ...Handler[Tx]) (*Applier[Tx, S], error) {
	a, err := open(ctx, log, db, o, handlers)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return a, nil
}

func open[Tx, S any](ctx context.Context, log Log, db Database[Tx, S], o Options, handlers []Handler[Tx]) (*Applier[Tx, S], error) {
	o, err := o.filled()
	if err != nil {
		return nil, err
	}
	if err := checkHandlers(o.Policy, handlers); err != nil {
		return nil, fmt.Errorf("view %s: %w", o.Name, err)
	}
	a := &Applier[Tx, S]{
		o: o, log: log, db: db, handlers: handlers, logger: o.Logger.With("view", o.Name, "version", o.Version),
		identity: Identity{Name: o.Name, Version: o.Version, LogID: log.LogID()},
	}
	rows, err := db.Load(ctx, a.identity, log.Partitions())
	if err != nil {
		return nil, fmt.Errorf("view %s: load marks: %w", o.Name, err)
	}
	for _, row := range rows {
		if err := a.sameLog(row); err != nil {
			return nil, err
		}
	}
	if len(rows) != log.Partitions() {
		return nil, fmt.Errorf("view %s has marks of %d partitions, the log has %d", o.Name, len(rows), log.Partitions())
	}
	for _, row := range rows {
		a.partitions = append(a.partitions, newPartition(a, row))
	}
	return a, nil
}

func checkHandlers[Tx any](policy Policy, handlers []Handler[Tx]) error {
	var wrong []error
	for _, h := range handlers {
		switch {
		case h.bucket == nil:
			wrong = append(wrong, errors.New("a handler is empty: make them with On or OnBatch"))
		case h.wrong != nil:
			wrong = append(wrong, h.wrong)
		case policy == QuarantineKey && h.keys == nil:
			wrong = append(wrong, fmt.Errorf("handler of header %d (%s) does not tell its keys, as QuarantineKey needs: wrap it with Keyed", h.header, h.kind))
		}
	}
	return errors.Join(wrong...)
}

func (a *Applier[Tx, S]) sameLog(row Row) error {
	if row.LogID != a.identity.LogID {
		return &LogIdentityError{View: a.o.Name, Partition: row.Partition, Want: row.LogID, Got: a.identity.LogID}
	}
	return nil
}

// Name returns the view's name.
func (a *Applier[Tx, S]) Name() string { return a.o.Name }

// Version returns the view's version.
func (a *Applier[Tx, S]) Version() int { return a.o.Version }

// Database returns the database that the view is kept in: for tools that need
// more than an applier offers.
func (a *Applier[Tx, S]) Database() Database[Tx, S] { return a.db }

func (a *Applier[Tx, S]) partition(p waltz.Partition) (*partition[Tx, S], error) {
	if p < 0 || int(p) >= len(a.partitions) {
		return nil, fmt.Errorf("view %s: partition %d: %w, it has 0 to %d", a.o.Name, p, waltz.ErrNoPartition, len(a.partitions)-1)
	}
	return a.partitions[p], nil
}

// Run applies all partitions until ctx ends, and then finishes what is under way
// and returns nil. One partition that has to stop ends all: Run returns why, such
// as a [*TransactionError], [*GapError], [*LogIdentityError], [*AheadError] or
// [*TooManyDeadError]. Trouble that passes does not end it.
func (a *Applier[Tx, S]) Run(ctx context.Context) error {
	ctx, r, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer a.end(r)
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range a.partitions {
		g.Go(func() error { return p.run(ctx) })
	}
	return g.Wait()
}

func (a *Applier[Tx, S]) begin(ctx context.Context) (context.Context, *run, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return nil, nil, fmt.Errorf("view %s: %w", a.o.Name, ErrClosed)
	case a.running != nil:
		return nil, nil, fmt.Errorf("view %s: %w", a.o.Name, ErrRunning)
	}
	ctx, cancel := context.WithCancel(ctx)
	a.running = &run{cancel, make(chan struct{})}
	return ctx, a.running, nil
}

func (a *Applier[Tx, S]) end(r *run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.cancel()
	close(r.ended)
	a.running = nil
}

// Close ends Run, waits for it, and closes the database. Calling it again is
// harmless.
func (a *Applier[Tx, S]) Close() error {
	a.mu.Lock()
	first, r := !a.closed, a.running
	a.closed = true
	a.mu.Unlock()
	if r != nil {
		r.cancel()
		<-r.ended
	}
	if !first {
		return nil
	}
	return a.db.Close()
}
