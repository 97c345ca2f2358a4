package txcontext

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// Log is what a runner needs of the log's client; *waltz.Client is one.
type Log interface {
	// Append tries once and ends as I8 says: committed (ID), lock conflict, stale,
	// rejected, or *waltz.UnknownError when ctx ended first.
	Append(ctx context.Context, p waltz.Partition, tx waltz.Transaction) (waltz.ID, error)
	// Resolve finds out what became of an append whose outcome was unknown, and
	// answers as that append would have.
	Resolve(ctx context.Context, unknown *waltz.UnknownError) (waltz.ID, error)
	// HighWaterMark returns the last committed transaction of the partition.
	HighWaterMark(ctx context.Context, p waltz.Partition) (waltz.ID, error)
}

// Options configures a runner. The zero value works.
type Options struct {
	// InFlightMax bounds the contexts that run at a time, those of Run and of
	// Submit together; more wait for a place. Default 256, range 1 to 1,000,000.
	InFlightMax int
	// AttemptsMax bounds the executions of one run. Default 100; -1 is no bound but
	// the caller's context.
	AttemptsMax int
	// BackoffMin is the longest pause after the second lost lock; it doubles with
	// each further one. The pause is a random part of it. Default 500 µs, range
	// above 0.
	BackoffMin time.Duration
	// BackoffMax bounds the pause. Default 100 ms, range from BackoffMin.
	BackoffMax time.Duration
	// Hooks are told what happens; each may be nil.
	Hooks Hooks
	// Logger gets one line for each change of the runner's state, none per context.
	// Default: none.
	Logger *slog.Logger
}

// Hooks are where metrics come from. They are called on the goroutine of the run,
// concurrently for concurrent runs, and must not block.
type Hooks struct {
	// Executed: Execute returned after that time.
	Executed func(p waltz.Partition, took time.Duration)
	// Appended: the log answered an append after that time; err is nil if it
	// committed.
	Appended func(p waltz.Partition, took time.Duration, err error)
	// Retried: an append was refused by err (*waltz.LockConflictError or
	// *waltz.StaleError), and after waiting that long for the view, and for its
	// turn, the context is executed again.
	Retried func(p waltz.Partition, err error, waited time.Duration)
	// Ended: the run has its outcome after that time in all; err as Run returns it.
	Ended func(r Result, took time.Duration, err error)
	// Applied: the view shows the transaction, that long after the run began. Only
	// for runs that wait for it (WaitApplied, or an Applied callback).
	Applied func(r Result, took time.Duration)
}

func (o Options) filled() (Options, error) {
	o.InFlightMax = defaulted(o.InFlightMax, 256)
	o.AttemptsMax = defaulted(o.AttemptsMax, 100)
	o.BackoffMin = defaulted(o.BackoffMin, 500*time.Microsecond)
	o.BackoffMax = defaulted(o.BackoffMax, max(100*time.Millisecond, o.BackoffMin))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Hooks = o.Hooks.filled()
	return o, o.mistakes()
}

func defaulted[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

func (o Options) mistakes() error {
	var all []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			all = append(all, fmt.Errorf("option "+format, args...))
		}
	}
	wrong(o.InFlightMax < 1 || o.InFlightMax > 1_000_000, "InFlightMax is %d: want 1 to 1,000,000", o.InFlightMax)
	wrong(o.AttemptsMax < -1, "AttemptsMax is %d: want at least 1, or -1 for no bound", o.AttemptsMax)
	wrong(o.BackoffMin < 0, "BackoffMin is %v: want more than 0", o.BackoffMin)
	wrong(o.BackoffMax < o.BackoffMin, "BackoffMax is %v: want at least BackoffMin, %v", o.BackoffMax, o.BackoffMin)
	return errors.Join(all...)
}

func (h Hooks) filled() Hooks {
	if h.Executed == nil {
		h.Executed = func(waltz.Partition, time.Duration) {}
	}
	if h.Appended == nil {
		h.Appended = func(waltz.Partition, time.Duration, error) {}
	}
	if h.Retried == nil {
		h.Retried = func(waltz.Partition, error, time.Duration) {}
	}
	if h.Ended == nil {
		h.Ended = func(Result, time.Duration, error) {}
	}
	if h.Applied == nil {
		h.Applied = func(Result, time.Duration) {}
	}
	return h
}

// Option changes one run.
type Option func(*settings)

type settings struct {
	fresh, waitApplied bool
	attemptsMax        int
}

// Fresh makes the run wait, before its first execution, until the view has
// reached the log's high-water mark as of the call, so that a decline, too, holds
// for the log as it is now and not only for the view.
func Fresh() Option { return func(s *settings) { s.fresh = true } }

// WaitApplied makes Run return only when the view shows the transaction, so that
// the caller reads its own write.
func WaitApplied() Option { return func(s *settings) { s.waitApplied = true } }

// AttemptsMax replaces Options.AttemptsMax for one run.
func AttemptsMax(n int) Option { return func(s *settings) { s.attemptsMax = n } }
