package txcontext

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// Runner runs transaction contexts against one log and one view. Concurrent use
// is what it is for. It owns the goroutines of Submit, which end by [Runner.Shutdown].
type Runner[S any] struct {
	log  Log
	view View[S]
	o    Options

	places  chan struct{}   // one token for each context in flight
	closing chan struct{}   // closed when no more are taken
	alive   context.Context // ended with ErrClosed at Shutdown's deadline
	kill    context.CancelCauseFunc

	mu struct {
		sync.Mutex
		closed   bool
		inFlight int
		idle     chan struct{} // closed by the last one out once closed is set
	}
}

// NewRunner returns a runner of contexts that read view and append to log. It
// reports all mistakes in o together.
func NewRunner[S any](log Log, view View[S], o Options) (*Runner[S], error) {
	o, err := o.filled()
	if err != nil {
		return nil, fmt.Errorf("new transaction context runner: %w", err)
	}
	r := &Runner[S]{log: log, view: view, o: o}
	r.places = make(chan struct{}, o.InFlightMax)
	r.closing = make(chan struct{})
	r.alive, r.kill = context.WithCancelCause(context.Background())
	r.mu.idle = make(chan struct{})
	return r, nil
}

// Run runs c until it is committed, declined, expired or failed, after waiting for
// a place if InFlightMax contexts are in flight.
//
// A nil error means that the transaction Result.ID is committed: by this run, or
// with AlreadyDone by an earlier one with the same key. The errors that an
// application tells apart are [*DeclinedError], [*ExpiredError] (nothing was
// committed), [*NotAppliedError] (committed, not yet seen), [*waltz.UnknownError]
// (ctx ended while an append was under way; with a Key, running again tells) and
// [ErrClosed].
func (r *Runner[S]) Run(ctx context.Context, c Context[S], opts ...Option) (Result, error) {
	if err := r.enter(ctx); err != nil {
		return Result{Partition: c.Partition, ID: waltz.None, Mark: waltz.None}, refused(c.Partition, err)
	}
	run, mine := r.newRun(c, opts), true
	defer func() {
		if mine { // also when Execute panics, and whoever called recovers, as net/http does
			r.leave()
		}
	}()
	res, err := run.do(ctx)
	if err == nil && c.Applied != nil && !run.waitApplied {
		mine = false
		go run.awaitApplied() // leaves when the view has shown it
	}
	return res, err
}

// Submit starts a run of c and returns when it has a place in flight; with
// InFlightMax contexts in flight it waits for one. ctx bounds the whole run, not
// only the wait: give it one that outlives the call.
func (r *Runner[S]) Submit(ctx context.Context, c Context[S], opts ...Option) (*Submission, error) {
	if err := r.enter(ctx); err != nil {
		return nil, refused(c.Partition, err)
	}
	run := r.newRun(c, opts)
	s := &Submission{done: make(chan struct{})}
	go func() {
		s.res, s.err = run.do(ctx)
		close(s.done)
		if s.err == nil && c.Applied != nil && !run.waitApplied {
			run.awaitApplied()
			return
		}
		r.leave()
	}()
	return s, nil
}

// Submission is a submitted run. It may be waited for by many, or by none.
type Submission struct {
	done chan struct{}
	res  Result
	err  error
}

// Done is closed when the run has ended.
func (s *Submission) Done() <-chan struct{} { return s.done }

// Wait returns what [Runner.Run] would have, or ctx's error if that ends first;
// the run goes on then.
func (s *Submission) Wait(ctx context.Context) (Result, error) {
	select {
	case <-s.done:
		return s.res, s.err
	case <-ctx.Done():
		return Result{ID: waltz.None, Mark: waltz.None}, fmt.Errorf("wait for a submitted transaction context: %w", context.Cause(ctx))
	}
}

// Shutdown stops taking contexts, and returns nil when those in flight have ended.
// When ctx ends first, they are cut off: they answer [ErrClosed], or
// *waltz.UnknownError if an append was under way, and Shutdown returns ctx's error
// once they all have. It is safe to call twice. It closes neither the log nor the
// view.
func (r *Runner[S]) Shutdown(ctx context.Context) error {
	left := r.stopTaking()
	if left == 0 {
		return nil
	}
	select {
	case <-r.mu.idle:
		return nil
	case <-ctx.Done():
	}
	r.kill(ErrClosed)
	<-r.mu.idle
	return fmt.Errorf("shut down with %d transaction contexts in flight: %w", left, context.Cause(ctx))
}

// Close is a Shutdown whose deadline is now.
func (r *Runner[S]) Close() error {
	now, cancel := context.WithDeadlineCause(context.Background(), time.Time{}, ErrClosed)
	defer cancel()
	if err := r.Shutdown(now); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

func (r *Runner[S]) stopTaking() (inFlight int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.mu.closed {
		r.mu.closed = true
		close(r.closing)
		r.o.Logger.Info("transaction context runner stops", "in_flight", r.mu.inFlight)
		if r.mu.inFlight == 0 {
			r.retireLocked()
		}
	}
	return r.mu.inFlight
}

// enter takes a place in flight, waiting for one if all are taken.
func (r *Runner[S]) enter(ctx context.Context) error {
	select {
	case r.places <- struct{}{}:
	case <-r.closing:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		<-r.places
		return ErrClosed
	}
	r.mu.inFlight++
	return nil
}

func (r *Runner[S]) leave() {
	<-r.places
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.inFlight--
	if r.mu.closed && r.mu.inFlight == 0 {
		r.retireLocked()
	}
}

func (r *Runner[S]) retireLocked() {
	r.kill(ErrClosed)
	close(r.mu.idle)
}

func refused(p waltz.Partition, err error) error {
	if errors.Is(err, ErrClosed) {
		return err
	}
	return &ExpiredError{Partition: p, Cause: err}
}
