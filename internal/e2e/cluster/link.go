package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"

	"github.com/waltz-log/waltz/internal/memnet"
)

var errCut = errors.New("the test has cut the link")

// Link is the way to one listener: all connections that were made through it. The
// zero value is not usable; call newLink.
type Link struct {
	mu    sync.Mutex
	to    *memnet.Listener // nil: nobody listens
	cut   bool
	held  chan struct{} // closed when what is under way may go on; nil: it may
	conns map[*conn]struct{}
}

func newLink() *Link { return &Link{conns: map[*conn]struct{}{}} }

// lead says who listens at the other end.
func (l *Link) lead(to *memnet.Listener) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
}

// Dial connects.
func (l *Link) Dial(ctx context.Context, _ string) (net.Conn, error) {
	l.mu.Lock()
	to, cut := l.to, l.cut
	l.mu.Unlock()
	if cut {
		return nil, errCut
	}
	if to == nil {
		return nil, syscall.ECONNREFUSED
	}
	c, err := to.Dial(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.to != to {
		return nil, errors.Join(errCut, c.Close())
	}
	wrapped := &conn{Conn: c, link: l, done: make(chan struct{})}
	l.conns[wrapped] = struct{}{}
	return wrapped, nil
}

// Cut breaks all connections and lets nobody make new ones until Mend.
func (l *Link) Cut() { l.breakAll(true) }

// Break breaks all connections; new ones can be made.
func (l *Link) Break() { l.breakAll(false) }

func (l *Link) breakAll(cut bool) {
	l.mu.Lock()
	l.cut = l.cut || cut
	conns := l.conns
	l.conns = map[*conn]struct{}{}
	l.mu.Unlock()
	for c := range conns {
		_ = c.Close()
	}
}

// Hold makes everything wait that is sent or received, without breaking anything,
// until Mend: what a network does that drops packets.
func (l *Link) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = make(chan struct{})
	}
}

// Mend undoes Cut and Hold.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
}

// conn is a connection that can be held up.
type conn struct {
	net.Conn
	link *Link
	once sync.Once
	done chan struct{}
}

func (c *conn) wait() {
	c.link.mu.Lock()
	held := c.link.held
	c.link.mu.Unlock()
	if held != nil {
		select {
		case <-held:
		case <-c.done:
		}
	}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wait()
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	c.wait()
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.link.mu.Lock()
		delete(c.link.conns, c)
		c.link.mu.Unlock()
	})
	return c.Conn.Close()
}
