package dbtest

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Moment says when a connection is cut, seen from what the client sends.
type Moment int

// The moments.
const (
	BeforeSent Moment = iota // the server never gets it
	InFlight                 // the server gets it, nobody waits for it
	Answered                 // the server has done it; its answer is lost
)

// Proxy stands between clients and a server, and cuts connections.
type Proxy struct {
	target   string
	listener net.Listener
	address  url.URL
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	plan   *plan // nil: none
	closed bool
}

// plan is a cut that is to happen.
type plan struct {
	moment Moment
	text   []byte // upper case
	done   chan struct{}
}

// NewProxy starts a proxy for the server of an address, until the test's end.
func NewProxy(t testing.TB, address string) *Proxy {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: u.Host, listener: l, address: *u, conns: map[net.Conn]struct{}{}}
	p.address.Host = l.Addr().String()
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// URL is the address that it was made for, through the proxy.
func (p *Proxy) URL() string { return p.address.String() }

// Cut ends all connections that there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // it may be gone already
	}
}

// CutAt plans to cut the next connection whose client sends a text, upper or lower
// case, at a moment of it. The channel is closed when it has happened. A later plan
// replaces one that has not.
func (p *Proxy) CutAt(m Moment, text string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan = &plan{m, bytes.ToUpper([]byte(text)), make(chan struct{})}
	return p.plan.done
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.Cut()
	p.wg.Wait()
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = c.Close() // as a server that is down would
			continue
		}
		if !p.add(c, s) {
			return
		}
		w := &wire{p: p, client: c, server: s}
		p.wg.Go(w.forth)
		p.wg.Go(w.back)
	}
}

// add remembers a pair; false after the end.
func (p *Proxy) add(pair ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range pair {
		if p.closed {
			_ = c.Close()
			continue
		}
		p.conns[c] = struct{}{}
	}
	return !p.closed
}

// match takes the plan if its text ends in the last n bytes of what was sent: what
// was there before was sent before the plan was made.
func (p *Proxy) match(sent []byte, n int) *plan {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.plan == nil {
		return nil
	}
	sent = sent[max(0, len(sent)-n-len(p.plan.text)+1):]
	if !bytes.Contains(bytes.ToUpper(sent), p.plan.text) {
		return nil
	}
	defer func() { p.plan = nil }()
	return p.plan
}

// wire is one connection with its two ends.
type wire struct {
	p              *Proxy
	client, server net.Conn

	mu   sync.Mutex
	drop *plan // the next answer is lost
}

func (w *wire) close() {
	_ = w.client.Close()
	_ = w.server.Close()
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	delete(w.p.conns, w.client)
	delete(w.p.conns, w.server)
}

// overlap is how much of the last piece is looked at again: a text may be cut in
// two.
const overlap = 64

// forth carries what the client sends.
func (w *wire) forth() {
	defer w.close()
	b := make([]byte, 64<<10)
	kept := 0
	for {
		n, err := w.client.Read(b[kept:])
		if err != nil {
			return
		}
		seen, piece := b[:kept+n], b[kept:kept+n]
		if !w.pass(seen, piece) {
			return
		}
		kept = copy(b, seen[max(0, len(seen)-overlap):])
	}
}

// pass sends a piece on, unless it is where the connection is cut.
func (w *wire) pass(seen, piece []byte) bool {
	plan := w.p.match(seen, len(piece))
	if plan != nil && plan.moment == BeforeSent {
		close(plan.done)
		return false
	}
	if plan != nil && plan.moment == Answered {
		w.mu.Lock()
		w.drop = plan
		w.mu.Unlock()
	}
	_, err := w.server.Write(piece)
	if plan != nil && plan.moment == InFlight {
		close(plan.done)
		return false
	}
	return err == nil
}

// back carries answers.
func (w *wire) back() {
	defer w.close()
	b := make([]byte, 64<<10)
	for {
		n, err := w.server.Read(b)
		w.mu.Lock()
		drop := w.drop
		w.mu.Unlock()
		if drop != nil {
			close(drop.done)
			return
		}
		if err != nil {
			return
		}
		if _, err := io.Copy(w.client, bytes.NewReader(b[:n])); err != nil {
			return
		}
	}
}
