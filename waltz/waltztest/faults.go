package waltztest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/waltz"
)

// What can befall an append besides a refusal; for [Log.FailNextAppend]. The
// client sends such an append again by itself, so the application sees nothing
// but a longer wait, unless its context ends before: then it sees a
// [*waltz.UnknownError].
var (
	// ErrRequestLost cuts the connection before the log has the transaction.
	ErrRequestLost = errors.New("waltztest: the request gets lost")
	// ErrAnswerLost cuts the connection after the log has committed the
	// transaction, or refused it, and before the client knows.
	ErrAnswerLost = errors.New("waltztest: the answer gets lost")
)

type faultKind int

const (
	none faultKind = iota
	refused
	requestLost
	answerLost
)

// fault is what befalls one append.
type fault struct {
	kind   faultKind
	reason wire.Reason // refused
	id     waltz.ID    // refused: the transaction that the reason speaks of, if named
	named  bool
}

// faultOf turns an error into what makes Append return it.
func faultOf(err error) (fault, error) {
	var conflict *waltz.LockConflictError
	var stale *waltz.StaleError
	switch {
	case errors.Is(err, ErrRequestLost):
		return fault{kind: requestLost}, nil
	case errors.Is(err, ErrAnswerLost):
		return fault{kind: answerLost}, nil
	case errors.As(err, &conflict):
		return refuse(wire.LockConflict, conflict.TransactionID, true), nil
	case errors.As(err, &stale):
		return refuse(wire.Stale, stale.Floor, true), nil
	}
	for sentinel, reason := range map[error]wire.Reason{
		waltz.ErrTooLarge: wire.TooLarge, waltz.ErrTooManyLocks: wire.TooManyLocks,
		waltz.ErrInvalid: wire.Invalid, waltz.ErrUnavailable: wire.Unavailable,
		waltz.ErrStorageFull: wire.StorageFull,
	} {
		if errors.Is(err, sentinel) {
			return refuse(reason, waltz.None, true), nil
		}
	}
	return fault{}, fmt.Errorf("waltztest: no append fails with %w", err)
}

func refuse(reason wire.Reason, id waltz.ID, named bool) fault {
	return fault{kind: refused, reason: reason, id: id, named: named}
}

// faults is what a test has asked for.
type faults struct {
	tasks sync.WaitGroup // of the proxy's streams

	mu      sync.Mutex
	coming  []fault // for the next appends, one each
	rate    float64
	rng     *rand.Rand
	delay   time.Duration
	resumed chan struct{} // closed while the feed runs
}

func newFaults() *faults {
	f := &faults{resumed: make(chan struct{})}
	close(f.resumed)
	return f
}

// next returns what befalls an append. One that is sent again may have been
// committed, so refusing it for good would be a lie that no server tells (I8): it
// meets no more than what it may meet in production.
func (f *faults) next(resend bool) fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.coming) > 0 && !resend {
		first := f.coming[0]
		f.coming = f.coming[1:]
		return first
	}
	if f.rate == 0 || f.rng.Float64() >= f.rate {
		return fault{}
	}
	switch f.rng.IntN(4) {
	case 0:
		return fault{kind: requestLost}
	case 1:
		return fault{kind: answerLost}
	case 2:
		return refuse(wire.Unavailable, waltz.None, true)
	}
	if resend {
		return fault{}
	}
	return refuse(wire.LockConflict, waltz.None, false)
}

// expect makes a fault befall the next n appends that have none yet.
func (f *faults) expect(x fault, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.coming = append(f.coming, x)
	}
}

// runs reports whether the feed does.
func (f *faults) runs() bool {
	select {
	case <-f.resumed:
		return true
	default:
		return false
	}
}

// wait holds what came at a time up for the delay.
func (f *faults) wait(ctx context.Context, came time.Time) error {
	f.mu.Lock()
	rest := f.delay - time.Since(came)
	f.mu.Unlock()
	if rest <= 0 {
		return nil
	}
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waitForFeed holds a feed up while it is suspended.
func (f *faults) waitForFeed(ctx context.Context) error {
	f.mu.Lock()
	resumed := f.resumed
	f.mu.Unlock()
	select {
	case <-resumed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
