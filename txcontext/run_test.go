package txcontext_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

func writes(id uint64) waltz.Lock {
	return waltz.Lock{LockID: account.ID(id), Mode: waltz.LockWrite}
}

func TestRunCommitsWhatExecuteBuilt(t *testing.T) {
	w := newWorld()
	r := w.runner(t, txcontext.Options{})
	c := deposit(1, 100)
	c.Key = "k"
	res, err := r.Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, txcontext.Result{ID: 0, Attempts: 1, Mark: waltz.None}, res)
	require.Equal(t, waltz.Transaction{
		Header: 7, Data: []byte(`{"1":100}`), Key: "k", HighWaterMark: waltz.None,
		Locks: []waltz.Lock{{LockID: account.ID(1), Mode: waltz.LockAppend}},
	}, w.mu.log[0])
}

// The transaction that beat ours changes the decision: it must be made anew, on a
// snapshot that shows the winner (I5).
func TestConflictExecutesOnNewSnapshot(t *testing.T) {
	w := newWorld()
	w.commit(t, move{1: 100}, writes(1))
	r := w.runner(t, txcontext.Options{})
	attempts := 0
	c := withdraw(1, 60)
	execute := c.Execute
	c.Execute = func(ctx context.Context, s snapshot, b *txcontext.Builder) error {
		if attempts++; attempts == 1 {
			w.suspend()
			id := w.commit(t, move{1: -60}, writes(1))
			time.AfterFunc(time.Millisecond, func() { w.show(id) })
		}
		return execute(ctx, s, b)
	}
	_, err := r.Run(t.Context(), c)
	require.ErrorIs(t, err, errOverdraft)
	declined, is := errors.AsType[*txcontext.DeclinedError](err)
	require.True(t, is)
	require.Equal(t, waltz.ID(1), declined.Mark)
	require.Equal(t, 2, attempts)
	require.Contains(t, w.mu.waits, waltz.ID(1), "waited for the transaction that won")
}

func TestKeyCommitsOnce(t *testing.T) {
	w := newWorld()
	r := w.runner(t, txcontext.Options{})
	c := deposit(1, 100)
	c.Key = "row 1"
	first, err := r.Run(t.Context(), c)
	require.NoError(t, err)
	again, err := r.Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, txcontext.Result{ID: first.ID, AlreadyDone: true, Mark: 0}, again)
	require.Len(t, w.mu.log, 1)
}

// A second process whose view is behind is refused by the key's lock, not by its
// view.
func TestKeyCommitsOnceThoughViewIsBehind(t *testing.T) {
	w := newWorld()
	r := w.runner(t, txcontext.Options{})
	w.suspend()
	c := deposit(1, 100)
	c.Key = "row 1"
	first, err := r.Run(t.Context(), c)
	require.NoError(t, err)
	timer := time.AfterFunc(time.Millisecond, func() { w.show(first.ID) })
	defer timer.Stop()
	again, err := r.Run(t.Context(), c)
	require.NoError(t, err)
	require.True(t, again.AlreadyDone)
	require.Equal(t, 1, again.Attempts)
	require.Len(t, w.mu.log, 1)
}

func TestFreshWaitsForTheLog(t *testing.T) {
	w := newWorld()
	r := w.runner(t, txcontext.Options{})
	w.suspend()
	id := w.commit(t, move{1: 100}, writes(1)) // the view does not show it yet
	_, err := r.Run(t.Context(), withdraw(1, 60))
	require.ErrorIs(t, err, errOverdraft, "true of the view, though not of the log")

	timer := time.AfterFunc(time.Millisecond, func() { w.show(id) })
	defer timer.Stop()
	res, err := r.Run(t.Context(), withdraw(1, 60), txcontext.Fresh())
	require.NoError(t, err)
	require.Equal(t, id, res.Mark)
}

func TestFreshOnEmptyLog(t *testing.T) {
	w := newWorld()
	_, err := w.runner(t, txcontext.Options{}).Run(t.Context(), deposit(1, 1), txcontext.Fresh())
	require.NoError(t, err)
	require.Empty(t, w.mu.waits)
}

func TestWaitAppliedReadsOwnWrite(t *testing.T) {
	w := newWorld()
	r := w.runner(t, txcontext.Options{})
	w.suspend()
	shown := false
	w.answer = func(id waltz.ID, err error) error {
		time.AfterFunc(time.Millisecond, func() { shown = true; w.show(id) })
		return err
	}
	_, err := r.Run(t.Context(), deposit(1, 1), txcontext.WaitApplied())
	require.NoError(t, err)
	require.True(t, shown)
}

func TestWaitAppliedTellsThatItCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := w.runner(t, txcontext.Options{})
		w.suspend()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		res, err := r.Run(ctx, deposit(1, 1), txcontext.WaitApplied())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		notApplied, is := errors.AsType[*txcontext.NotAppliedError](err)
		require.True(t, is)
		require.Equal(t, waltz.ID(0), notApplied.ID)
		require.Equal(t, waltz.ID(0), res.ID)
	})
}

func TestStaleIsNotAnAttempt(t *testing.T) {
	w := newWorld()
	r := w.runner(t, txcontext.Options{AttemptsMax: 1})
	w.suspend()
	id := w.commit(t, move{1: 100}, writes(1))
	w.floor = func(mark waltz.ID) (waltz.ID, bool) { return id, mark < id }
	timer := time.AfterFunc(time.Millisecond, func() { w.show(id) })
	defer timer.Stop()
	res, err := r.Run(t.Context(), deposit(2, 1))
	require.NoError(t, err)
	require.Equal(t, 1, res.Attempts)
	require.Equal(t, []waltz.ID{id}, w.mu.waits)
}

// conflicting loses every append to a transaction that the view shows at once.
func conflicting(t *testing.T, w *world, times int) {
	w.answer = func(_ waltz.ID, err error) error {
		if times == 0 {
			return err
		}
		times--
		return &waltz.LockConflictError{TransactionID: w.mu.shown}
	}
}

func TestAttemptsMax(t *testing.T) {
	for _, tc := range []struct {
		name  string
		o     txcontext.Options
		opts  []txcontext.Option
		loses int
		want  int // attempts when it expires, 0 when it commits
	}{
		{"of the runner", txcontext.Options{AttemptsMax: 3}, nil, 9, 3},
		{"of the run", txcontext.Options{AttemptsMax: 3}, []txcontext.Option{txcontext.AttemptsMax(5)}, 9, 5},
		{"enough", txcontext.Options{AttemptsMax: 3}, nil, 2, 0},
		{"without bound", txcontext.Options{AttemptsMax: -1}, nil, 300, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				conflicting(t, w, tc.loses)
				res, err := w.runner(t, tc.o).Run(t.Context(), deposit(1, 1), tc.opts...)
				if tc.want == 0 {
					require.NoError(t, err)
					require.Equal(t, tc.loses+1, res.Attempts)
					return
				}
				require.ErrorIs(t, err, txcontext.ErrAttempts)
				expired, is := errors.AsType[*txcontext.ExpiredError](err)
				require.True(t, is)
				require.Equal(t, tc.want, expired.Attempts)
				_, is = errors.AsType[*waltz.LockConflictError](err)
				require.True(t, is, "the last conflict is kept")
			})
		})
	}
}

// The first lost lock is retried at once, later ones after a growing pause.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		conflicting(t, w, 20)
		var waited []time.Duration
		r := w.runner(t, txcontext.Options{
			BackoffMin: time.Millisecond, BackoffMax: 16 * time.Millisecond,
			Hooks: txcontext.Hooks{Retried: func(_ waltz.Partition, _ error, d time.Duration) { waited = append(waited, d) }},
		})
		_, err := r.Run(t.Context(), deposit(1, 1))
		require.NoError(t, err)
		require.Len(t, waited, 20)
		require.Zero(t, waited[0])
		bound := time.Millisecond
		for _, d := range waited[1:] {
			require.Less(t, d, bound)
			bound = min(2*bound, 16*time.Millisecond)
		}
	})
}

func TestDeadlineWhileWaitingForTheView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := w.runner(t, txcontext.Options{})
		w.suspend()
		w.commit(t, move{1: 1}, writes(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := withdraw(1, 0)
		_, err := r.Run(ctx, c)
		expired, is := errors.AsType[*txcontext.ExpiredError](err)
		require.True(t, is, "%v", err)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, &waltz.LockConflictError{TransactionID: 0}, expired.Last)
	})
}

func TestUnknown(t *testing.T) {
	unknown := &waltz.UnknownError{Err: errors.New("connection is gone")}
	for _, tc := range []struct {
		name    string
		resolve []error // Resolve's answers in turn, then the truth
		check   func(t *testing.T, res txcontext.Result, err error)
	}{
		{"resolved as committed", nil, func(t *testing.T, res txcontext.Result, err error) {
			require.NoError(t, err)
			require.Equal(t, 1, res.Attempts)
		}},
		{"resolved later", []error{unknown, waltz.ErrUnavailable, unknown}, func(t *testing.T, res txcontext.Result, err error) {
			require.NoError(t, err)
			require.Equal(t, waltz.ID(0), res.ID)
		}},
		{"resolved as rejected", []error{fmt.Errorf("append: %w", waltz.ErrTooLarge)}, func(t *testing.T, _ txcontext.Result, err error) {
			require.ErrorIs(t, err, waltz.ErrTooLarge)
		}},
		{"resolved as conflict", []error{&waltz.LockConflictError{TransactionID: 0}}, func(t *testing.T, res txcontext.Result, err error) {
			require.NoError(t, err)
			require.Equal(t, 2, res.Attempts)
		}},
		{"cannot be resolved", []error{&waltz.UnknownError{Err: waltz.ErrClosed}}, func(t *testing.T, res txcontext.Result, err error) {
			require.ErrorIs(t, err, unknown)
			require.Equal(t, waltz.None, res.ID)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				first := true
				w.answer = func(_ waltz.ID, err error) error {
					if first {
						first = false
						return unknown
					}
					return err
				}
				w.resolve = func(u *waltz.UnknownError) error {
					require.Same(t, unknown, u)
					if len(tc.resolve) == 0 {
						return nil
					}
					err := tc.resolve[0]
					tc.resolve = tc.resolve[1:]
					return err
				}
				res, err := w.runner(t, txcontext.Options{}).Run(t.Context(), deposit(1, 1))
				tc.check(t, res, err)
			})
		})
	}
}

func TestUnknownWhenContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.gate = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := w.runner(t, txcontext.Options{}).Run(ctx, deposit(1, 1))
		_, is := errors.AsType[*waltz.UnknownError](err)
		require.True(t, is, "%v", err)
	})
}

func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	for _, tc := range []struct {
		name string
		ex   func(context.Context, snapshot, *txcontext.Builder) error
		want error
	}{
		{"execute fails", func(context.Context, snapshot, *txcontext.Builder) error { return broken }, broken},
		{"execute puts nothing", func(context.Context, snapshot, *txcontext.Builder) error { return nil }, txcontext.ErrNothingPut},
		{"declines in a wrapped error", func(context.Context, snapshot, *txcontext.Builder) error {
			return fmt.Errorf("check: %w", txcontext.Decline(broken))
		}, broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			var failed error
			_, err := w.runner(t, txcontext.Options{}).Run(t.Context(), txcontext.Context[snapshot]{
				Execute: tc.ex, Failed: func(_ txcontext.Result, err error) { failed = err },
			})
			require.ErrorIs(t, err, tc.want)
			require.Equal(t, err, failed)
			require.Zero(t, w.mu.appends)
		})
	}
}

func TestOptionsReportAllMistakes(t *testing.T) {
	_, err := txcontext.NewRunner(newWorld(), newWorld(), txcontext.Options{InFlightMax: -1, AttemptsMax: -2, BackoffMin: 2, BackoffMax: 1})
	for _, field := range []string{"InFlightMax", "AttemptsMax", "BackoffMax"} {
		require.ErrorContains(t, err, field)
	}
}
