package txcontext

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz"
)

// run is one context on its way. It belongs to one goroutine.
type run[S any] struct {
	*Runner[S]
	settings
	c     Context[S]
	began time.Time
	res   Result
	tx    waltz.Transaction // of the last execution
	lost  int               // lock conflicts so far
	last  error             // the last refusal
}

func (r *Runner[S]) newRun(c Context[S], opts []Option) *run[S] {
	w := &run[S]{Runner: r, c: c, began: time.Now()}
	w.attemptsMax = r.o.AttemptsMax
	for _, o := range opts {
		o(&w.settings)
	}
	w.res = Result{Partition: c.Partition, ID: waltz.None, Mark: waltz.None}
	return w
}

// do takes the context to its end, then tells whoever asked.
func (w *run[S]) do(ctx context.Context) (Result, error) {
	ctx, stop := w.tethered(ctx)
	defer stop()
	err := w.commit(ctx)
	w.o.Hooks.Ended(w.res, time.Since(w.began), err)
	if err != nil {
		if w.c.Failed != nil {
			w.c.Failed(w.res, err)
		}
		return w.res, err
	}
	if w.c.Completed != nil {
		w.c.Completed(w.res)
	}
	if w.waitApplied {
		err = w.applied(ctx)
	}
	return w.res, err
}

// tethered ends ctx when the runner is cut off, too.
func (w *run[S]) tethered(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	untie := context.AfterFunc(w.alive, func() { cancel(ErrClosed) })
	return ctx, func() {
		untie()
		cancel(nil)
	}
}

// commit executes and appends until the log commits, or something final happens.
func (w *run[S]) commit(ctx context.Context) error {
	if err := w.awaitFresh(ctx); err != nil {
		return w.failed(ctx, err)
	}
	for {
		if err := w.execute(ctx); err != nil || w.res.AlreadyDone {
			return w.failed(ctx, err)
		}
		err := w.append(ctx)
		if err == nil {
			return nil
		}
		if err := w.awaitRetry(ctx, err); err != nil {
			return w.failed(ctx, err)
		}
	}
}

// awaitFresh waits for what the log holds as of the call, if that was asked for.
func (w *run[S]) awaitFresh(ctx context.Context) error {
	if !w.fresh || mutant.On("fresh-does-not-wait") {
		return nil
	}
	mark, err := w.log.HighWaterMark(ctx, w.c.Partition)
	if err != nil {
		return fmt.Errorf("read the log's high-water mark: %w", err)
	}
	return w.shows(ctx, mark)
}

// shows waits until the view shows transaction id.
func (w *run[S]) shows(ctx context.Context, id waltz.ID) error {
	if id == waltz.None {
		return nil
	}
	return w.view.WaitFor(ctx, w.c.Partition, id)
}

// execute runs Execute on a new snapshot, whose mark the transaction carries (I5).
func (w *run[S]) execute(ctx context.Context) error {
	if mutant.On("conflict-retry-keeps-old-snapshot") && w.lost > 0 {
		if conflict, is := errors.AsType[*waltz.LockConflictError](w.last); is {
			w.tx.HighWaterMark = conflict.TransactionID
		}
		w.res.Attempts++
		return nil
	}
	return w.snapshot(ctx, func(ctx context.Context, s S, mark waltz.ID) error {
		w.res.Mark = mark
		if done, err := w.alreadyDone(ctx, s); done || err != nil {
			return err
		}
		w.res.Attempts++
		var b Builder
		began := time.Now()
		err := w.c.Execute(ctx, s, &b)
		w.o.Hooks.Executed(w.c.Partition, time.Since(began))
		if err != nil {
			return err
		}
		w.tx, err = b.transaction(w.c.Key, mark)
		if mutant.On("key-lock-not-taken") {
			w.tx.Key = ""
		}
		return err
	})
}

func (w *run[S]) snapshot(ctx context.Context, read func(context.Context, S, waltz.ID) error) error {
	if keyed, is := w.view.(KeyedView[S]); is && w.c.Key != "" {
		return keyed.SnapshotFor(ctx, w.c.Partition, w.c.Key, read)
	}
	return w.view.Snapshot(ctx, w.c.Partition, read)
}

// alreadyDone looks the business key up in the snapshot. A transaction with the
// key that the snapshot does not show yet is caught by the key's lock: the append
// is refused, and the next snapshot shows it.
func (w *run[S]) alreadyDone(ctx context.Context, s S) (bool, error) {
	if w.c.Key == "" {
		return false, nil
	}
	id, found, err := w.view.Key(ctx, s, w.c.Partition, w.c.Key)
	if err != nil {
		return false, fmt.Errorf("look up key %q: %w", w.c.Key, err)
	}
	if found {
		w.res.ID, w.res.AlreadyDone = id, true
	}
	return found, nil
}

// append gets the log's answer, resolving an unknown one while ctx lives (I8).
func (w *run[S]) append(ctx context.Context) error {
	began := time.Now()
	id, err := w.log.Append(ctx, w.c.Partition, w.tx)
	if unknown, is := errors.AsType[*waltz.UnknownError](err); is {
		id, err = w.resolve(ctx, unknown)
	}
	w.o.Hooks.Appended(w.c.Partition, time.Since(began), err)
	if err == nil {
		w.res.ID = id
	}
	return err
}

// resolve asks until the outcome is known, ctx ends, or asking is hopeless: then
// it stays unknown, whatever Resolve's own trouble was.
func (w *run[S]) resolve(ctx context.Context, unknown *waltz.UnknownError) (waltz.ID, error) {
	for pause := w.o.BackoffMin; w.sleep(ctx, pause) == nil; pause = min(2*pause, w.o.BackoffMax) {
		id, err := w.log.Resolve(ctx, unknown)
		switch {
		case err == nil || answered(err):
			return id, err
		case !passing(err):
			return waltz.None, unknown
		}
	}
	return waltz.None, unknown
}

// answered reports whether err is an answer to the append itself (I8).
func answered(err error) bool {
	_, conflict := errors.AsType[*waltz.LockConflictError](err)
	_, stale := errors.AsType[*waltz.StaleError](err)
	return conflict || stale || errors.Is(err, waltz.ErrTooLarge) || errors.Is(err, waltz.ErrTooManyLocks) || errors.Is(err, waltz.ErrInvalid)
}

// passing reports whether asking again may help.
func passing(err error) bool {
	_, unknown := errors.AsType[*waltz.UnknownError](err)
	return !errors.Is(err, waltz.ErrClosed) && (unknown || errors.Is(err, waltz.ErrUnavailable) || errors.Is(err, waltz.ErrStorageFull))
}

// awaitRetry returns nil at the first useful moment to execute again after the
// refusal, or the error that ends the run.
func (w *run[S]) awaitRetry(ctx context.Context, refusal error) error {
	began := time.Now()
	var id waltz.ID
	var pause time.Duration
	if stale, is := errors.AsType[*waltz.StaleError](refusal); is {
		id, w.last = stale.Floor, stale
		w.res.Attempts-- // nobody's conflict: only the view was late
	} else if conflict, is := errors.AsType[*waltz.LockConflictError](refusal); is {
		id, w.last = conflict.TransactionID, conflict
		w.lost++
		pause = w.backoff()
	} else {
		return refusal
	}
	if w.attemptsMax >= 0 && w.res.Attempts >= w.attemptsMax {
		return &ExpiredError{Partition: w.c.Partition, Attempts: w.res.Attempts, Cause: ErrAttempts, Last: w.last}
	}
	if err := w.shows(ctx, id); err != nil {
		return err
	}
	if err := w.sleep(ctx, pause); err != nil {
		return err
	}
	w.o.Hooks.Retried(w.c.Partition, w.last, time.Since(began))
	return nil
}

// backoff is the pause after the latest lost lock: none the first time, then a
// random part of a doubling bound, so that contenders don't meet again.
func (w *run[S]) backoff() time.Duration {
	if w.lost < 2 {
		return 0
	}
	bound := w.o.BackoffMin << min(w.lost-2, 30)
	if bound <= 0 || bound > w.o.BackoffMax {
		bound = w.o.BackoffMax
	}
	return rand.N(bound)
}

func (w *run[S]) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failed gives an error that ends the run its type: it was a decline, the append's
// outcome is unknown, time was up with nothing under way, or it failed.
func (w *run[S]) failed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if d, is := errors.AsType[*decline](err); is {
		return &DeclinedError{Partition: w.c.Partition, Mark: w.res.Mark, Reason: d.reason}
	}
	if known(err) {
		return err
	}
	if ctx.Err() == nil {
		return fmt.Errorf("run transaction context in partition %d: %w", w.c.Partition, err)
	}
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrClosed) {
		return ErrClosed
	}
	if errors.Is(err, cause) {
		cause = err // which says what was waited for
	}
	return &ExpiredError{Partition: w.c.Partition, Attempts: w.res.Attempts, Cause: cause, Last: w.last}
}

func known(err error) bool {
	_, unknown := errors.AsType[*waltz.UnknownError](err)
	_, expired := errors.AsType[*ExpiredError](err)
	return unknown || expired
}

// applied waits until the view shows the committed transaction.
func (w *run[S]) applied(ctx context.Context) error {
	if err := w.shows(ctx, w.res.ID); err != nil {
		return &NotAppliedError{Partition: w.c.Partition, ID: w.res.ID, Err: err}
	}
	w.o.Hooks.Applied(w.res, time.Since(w.began))
	if w.c.Applied != nil {
		w.c.Applied(w.res)
	}
	return nil
}

// awaitApplied serves the Applied callback of a run that does not wait for it, and
// holds the run's place in flight until then or until the runner is cut off.
func (w *run[S]) awaitApplied() {
	defer w.leave()
	if err := w.applied(w.alive); err != nil {
		w.o.Logger.Info("applied callback is dropped", "partition", w.c.Partition, "id", w.res.ID, "error", err)
	}
}
