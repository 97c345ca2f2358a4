package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// circuitGrace is how long the log may be unreachable before writes fail at once: a server
// that is started again is waited for.
const circuitGrace = time.Second

// circuit knows whether the log can be reached, from the client's connections. While it
// can't, one write at a time waits for it, whose append has the client connect again; the
// others are refused at once, since each would hold its request as long as that may take.
type circuit struct {
	open atomic.Bool // the last connection broke

	mu      sync.Mutex
	streams int
	since   time.Time // when it broke
	trying  bool
}

// watch adds what the circuit has to hear of to hooks.
func (c *circuit) watch(h waltz.Hooks) waltz.Hooks {
	connected, disconnected := h.Connected, h.Disconnected
	h.Connected = func(addr string) {
		c.connected(1)
		connected(addr)
	}
	h.Disconnected = func(addr string, unanswered int, err error) {
		c.connected(-1)
		disconnected(addr, unanswered, err)
	}
	return h
}

func (c *circuit) connected(streams int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams += streams
	if c.open.Swap(c.streams == 0) != (c.streams == 0) {
		c.since = time.Now()
	}
}

// enter lets a write go on, or tells why not. leave is to be called when it has ended.
func (c *circuit) enter() (leave func(), err error) {
	if !c.open.Load() {
		return func() {}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open.Load() || time.Since(c.since) < circuitGrace {
		return func() {}, nil
	}
	if c.trying {
		return nil, fmt.Errorf("log has been unreachable for %s: nothing was done: %w", time.Since(c.since).Round(time.Second), waltz.ErrUnavailable)
	}
	c.trying = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.trying = false
	}, nil
}
