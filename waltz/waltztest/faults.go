package waltztest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/waltz-log/waltz/proto/clientpb"
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
	kind    faultKind
	refusal *clientpb.Refused
	named   bool // refusal says which transaction
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
		return refuse(clientpb.Reason_REASON_LOCK_CONFLICT, conflict.TransactionID, true), nil
	case errors.As(err, &stale):
		return refuse(clientpb.Reason_REASON_STALE, stale.Floor, true), nil
	}
	for sentinel, reason := range map[error]clientpb.Reason{
		waltz.ErrTooLarge: clientpb.Reason_REASON_TOO_LARGE, waltz.ErrTooManyLocks: clientpb.Reason_REASON_TOO_MANY_LOCKS,
		waltz.ErrInvalid: clientpb.Reason_REASON_INVALID, waltz.ErrUnavailable: clientpb.Reason_REASON_UNAVAILABLE,
		waltz.ErrStorageFull: clientpb.Reason_REASON_STORAGE_FULL,
	} {
		if errors.Is(err, sentinel) {
			return refuse(reason, waltz.None, true), nil
		}
	}
	return fault{}, fmt.Errorf("waltztest: no append fails with %v", err)
}

func refuse(reason clientpb.Reason, id waltz.ID, named bool) fault {
	return fault{kind: refused, refusal: &clientpb.Refused{Reason: reason, TransactionId: int64(id)}, named: named}
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

// next returns what befalls the next append.
func (f *faults) next() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.coming) > 0 {
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
		return refuse(clientpb.Reason_REASON_UNAVAILABLE, waltz.None, true)
	}
	return refuse(clientpb.Reason_REASON_LOCK_CONFLICT, waltz.None, false)
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
