package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// appending is a closed loop of appends to partition 0.
type appending struct {
	cancel    context.CancelCauseFunc
	ctx       context.Context
	workers   sync.WaitGroup
	committed atomic.Int64
	slowest   atomic.Int64 // nanoseconds
}

func startAppending(ctx context.Context, c *waltz.Client, size, inflight int) *appending {
	a := &appending{}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	for range inflight {
		a.workers.Go(func() { a.work(c, make([]byte, size)) })
	}
	return a
}

func (a *appending) work(c *waltz.Client, data []byte) {
	for a.ctx.Err() == nil {
		began := time.Now()
		_, err := c.Append(a.ctx, 0, waltz.Transaction{Data: data, HighWaterMark: waltz.None})
		if err != nil {
			a.cancel(err)
			return
		}
		a.committed.Add(1)
		took := int64(time.Since(began))
		for old := a.slowest.Load(); took > old && !a.slowest.CompareAndSwap(old, took); old = a.slowest.Load() {
		}
	}
}

// rate lets the load run for a time and returns transactions a second.
func (a *appending) rate(d time.Duration) float64 {
	began, before := time.Now(), a.committed.Load()
	select {
	case <-time.After(d):
	case <-a.ctx.Done():
	}
	return float64(a.committed.Load()-before) / time.Since(began).Seconds()
}

// until lets the load run until a slice of time has a rate, and returns how long
// that took; at most for a time.
func (a *appending) until(rate float64, slice, most time.Duration) time.Duration {
	for began := time.Now(); ; {
		if a.rate(slice) >= rate || time.Since(began) > most || a.ctx.Err() != nil {
			return time.Since(began)
		}
	}
}

// stop ends the load; the error is that of the append that failed, if one did.
func (a *appending) stop() (slowest time.Duration, err error) {
	failed := context.Cause(a.ctx)
	a.cancel(nil)
	a.workers.Wait()
	return time.Duration(a.slowest.Load()), failed
}
