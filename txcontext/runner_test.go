package txcontext_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// held makes appends wait until the channel is closed or their context ends.
func held(w *world) chan struct{} {
	release := make(chan struct{})
	w.gate = func(ctx context.Context) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return release
}

func TestSubmitWaitsWhenFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		release := held(w)
		r := w.runner(t, txcontext.Options{InFlightMax: 2})
		first, err := r.Submit(t.Context(), deposit(1, 1))
		require.NoError(t, err)
		_, err = r.Submit(t.Context(), deposit(1, 1))
		require.NoError(t, err)

		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = r.Submit(impatient, deposit(1, 1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = first.Wait(impatient)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		time.AfterFunc(time.Second, func() { close(release) })
		third, err := r.Submit(t.Context(), deposit(1, 1))
		require.NoError(t, err)
		<-third.Done()
		_, err = third.Wait(t.Context())
		require.NoError(t, err)
		require.NoError(t, r.Shutdown(t.Context()))
		require.Len(t, w.mu.log, 3)
	})
}

// A panic is the caller's, who may recover from it: an HTTP server does. It takes no
// place in flight with it.
func TestPanicOfExecuteGivesThePlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newWorld().runner(t, txcontext.Options{InFlightMax: 1})
		broken := deposit(1, 1)
		broken.Execute = func(context.Context, snapshot, *txcontext.Builder) error { panic("nil map") }
		require.PanicsWithValue(t, "nil map", func() { _, _ = r.Run(t.Context(), broken) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.Run(ctx, deposit(1, 1))
		require.NoError(t, err)
		require.NoError(t, r.Shutdown(ctx))
	})
}

func TestShutdownEndsWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		release := held(w)
		r := w.runner(t, txcontext.Options{})
		s, err := r.Submit(t.Context(), deposit(1, 1))
		require.NoError(t, err)
		time.AfterFunc(time.Second, func() { close(release) })
		require.NoError(t, r.Shutdown(t.Context()))
		_, err = s.Wait(t.Context())
		require.NoError(t, err)

		_, err = r.Run(t.Context(), deposit(1, 1))
		require.Equal(t, txcontext.ErrClosed, err)
		_, err = r.Submit(t.Context(), deposit(1, 1))
		require.Equal(t, txcontext.ErrClosed, err)
		require.NoError(t, r.Shutdown(t.Context()), "twice")
		require.NoError(t, r.Close())
	})
}

func TestShutdownAtDeadlineAnswersUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		held(w)
		r := w.runner(t, txcontext.Options{InFlightMax: 1})
		appending, err := r.Submit(t.Context(), deposit(1, 1))
		require.NoError(t, err)
		refused := make(chan error)
		go func() {
			_, err := r.Run(t.Context(), deposit(1, 1))
			refused <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.Shutdown(ctx), context.DeadlineExceeded)
		_, err = appending.Wait(t.Context())
		_, is := errors.AsType[*waltz.UnknownError](err)
		require.True(t, is, "%v", err)
		require.Equal(t, txcontext.ErrClosed, <-refused)
	})
}

func TestShutdownCutsOffWaitForTheView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		r := w.runner(t, txcontext.Options{})
		w.suspend()
		w.commit(t, move{1: 1}, writes(1))
		s, err := r.Submit(t.Context(), withdraw(1, 0))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, r.Close())
		_, err = s.Wait(t.Context())
		require.Equal(t, txcontext.ErrClosed, err)
	})
}

func TestCallbacks(t *testing.T) {
	for _, tc := range []struct {
		name  string
		start func(r *txcontext.Runner[snapshot], c txcontext.Context[snapshot]) error
	}{
		{"run", func(r *txcontext.Runner[snapshot], c txcontext.Context[snapshot]) error {
			_, err := r.Run(context.Background(), c)
			return err
		}},
		{"submit", func(r *txcontext.Runner[snapshot], c txcontext.Context[snapshot]) error {
			_, err := r.Submit(context.Background(), c)
			return err
		}},
		{"submit and wait applied", func(r *txcontext.Runner[snapshot], c txcontext.Context[snapshot]) error {
			_, err := r.Submit(context.Background(), c, txcontext.WaitApplied())
			return err
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.suspend()
				r := w.runner(t, txcontext.Options{})
				var events []string
				c := deposit(1, 1)
				c.Completed = func(res txcontext.Result) { events = append(events, "completed") }
				c.Applied = func(res txcontext.Result) { events = append(events, "applied") }
				require.NoError(t, tc.start(r, c))
				synctest.Wait()
				require.Equal(t, []string{"completed"}, events)
				w.show(0)
				require.NoError(t, r.Shutdown(t.Context()), "which waits for the callback")
				require.Equal(t, []string{"completed", "applied"}, events)
			})
		})
	}
}

func TestHooksSeeEveryStep(t *testing.T) {
	w := newWorld()
	conflicting(t, w, 2)
	var executed, appended, conflicts, retried, ended, applied int
	r := w.runner(t, txcontext.Options{Hooks: txcontext.Hooks{
		Executed: func(waltz.Partition, time.Duration) { executed++ },
		Appended: func(_ waltz.Partition, _ time.Duration, err error) {
			appended++
			if err != nil {
				conflicts++
			}
		},
		Retried: func(waltz.Partition, error, time.Duration) { retried++ },
		Ended:   func(txcontext.Result, time.Duration, error) { ended++ },
		Applied: func(txcontext.Result, time.Duration) { applied++ },
	}})
	_, err := r.Run(t.Context(), deposit(1, 1), txcontext.WaitApplied())
	require.NoError(t, err)
	require.Equal(t, []int{3, 3, 2, 2, 1, 1}, []int{executed, appended, conflicts, retried, ended, applied})
}
