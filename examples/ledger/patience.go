package main

import (
	"context"
	"time"
)

// againPause is how long trouble of the database is waited out before another try.
const againPause = 200 * time.Millisecond

// patiently does something until it succeeds, or fails for another reason than trouble
// of the database that passes. What it does must bear being done again.
func (h *house) patiently(ctx context.Context, do func() error) error {
	for {
		err := do()
		fault, is := h.view.Fault(err)
		if err == nil || !is || !fault.Class.Transient() {
			return err
		}
		h.logger.Warn("the database has trouble; trying again", "error", err)
		t := time.NewTimer(againPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}
