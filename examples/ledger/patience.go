package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// The pauses before another try while the database has trouble, and how often it is told
// that it still has.
const (
	againMin  = 100 * time.Millisecond
	againMax  = 5 * time.Second
	tellAgain = 30 * time.Second
)

// patiently does something until it succeeds, or fails for another reason than trouble
// of the database that passes. What it does must bear being done again.
func (h *house) patiently(ctx context.Context, do func() error) error {
	pauses := &backoff.ExponentialBackOff{InitialInterval: againMin, MaxInterval: againMax, Multiplier: 2, RandomizationFactor: 0.5}
	pauses.Reset()
	for {
		err := do()
		fault, is := h.view.Fault(err)
		if err == nil || !is || !fault.Class.Transient() {
			if err == nil {
				h.trouble.over(h.logger)
			}
			return err
		}
		h.trouble.tell(h.logger, err)
		t := time.NewTimer(pauses.NextBackOff())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

// trouble is that of the database as all see it together, who are many: it is told when it
// begins, seldom while it lasts, and when it is over.
type trouble struct {
	lasts atomic.Bool // it was told, and is not over
	mu    sync.Mutex
	began time.Time
	told  time.Time
	tries int
}

func (t *trouble) tell(logger *slog.Logger, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.tries++; now.Sub(t.told) < tellAgain { // also if it comes and goes
		return
	}
	if t.told = now; !t.lasts.Swap(true) {
		t.began = now
	}
	logger.Warn("the database has trouble; trying again", "since", t.began.Format(time.RFC3339), "tries", t.tries, "error", err)
}

func (t *trouble) over(logger *slog.Logger) {
	if !t.lasts.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.lasts.Swap(false) {
		return
	}
	logger.Warn("the database is back", "after", fmt.Sprint(time.Since(t.began).Round(time.Millisecond)), "tries", t.tries)
	t.tries = 0
}
