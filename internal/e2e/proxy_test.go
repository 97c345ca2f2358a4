package e2e

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy forwards connections to a server and cuts each after a random number
// of bytes, in the middle of whatever is being said. It ends with its test.
type proxy struct {
	listener net.Listener
	to       string
	bytesMax atomic.Int64 // that a connection may carry one way; 0: any number
	mute     atomic.Bool  // what clients say goes nowhere, from now on
	deaf     atomic.Bool  // what the server answers goes nowhere, from now on
	cuts     atomic.Int64
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

func newProxy(t testing.TB, to string, bytesMax int64) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", freeAddress(t))
	require.NoError(t, err)
	p := &proxy{listener: l, to: to, conns: make(map[net.Conn]bool)}
	p.bytesMax.Store(bytesMax)
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		p.close()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "waltz://" + p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = from.Close()
			continue
		}
		p.add(from, to)
		both := sync.OnceFunc(func() { p.cut(from, to) })
		p.wg.Go(func() { p.copy(gate{to, &p.mute}, from, both) })
		p.wg.Go(func() { p.copy(gate{from, &p.deaf}, to, both) })
	}
}

// gate swallows what it is given while it is shut. A connection that has lost
// bytes is of no use any more; heal cuts it.
type gate struct {
	io.Writer
	shut *atomic.Bool
}

func (g gate) Write(b []byte) (int, error) {
	if g.shut.Load() {
		return len(b), nil
	}
	return g.Writer.Write(b)
}

// heal forwards again, on new connections.
func (p *proxy) heal() {
	p.mute.Store(false)
	p.deaf.Store(false)
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// add remembers connections, so that they end with the proxy.
func (p *proxy) add(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
		if p.closed {
			_ = c.Close()
		}
	}
}

// copy forwards one way until the budget is used up or a side is closed.
func (p *proxy) copy(to io.Writer, from net.Conn, end func()) {
	defer end()
	most := p.bytesMax.Load()
	if most == 0 {
		_, _ = io.Copy(to, from)
		return
	}
	if _, err := io.CopyN(to, from, 1+rand.Int64N(most)); err == nil {
		p.cuts.Add(1)
	}
}

func (p *proxy) cut(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			panic(err)
		}
		delete(p.conns, c)
	}
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.heal()
}
