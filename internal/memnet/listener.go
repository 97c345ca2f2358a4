package memnet

import (
	"context"
	"net"
	"sync"
	"time"
)

// bufferBytes bounds what is under way in one direction of a connection.
const bufferBytes = 256 << 10

// Listener accepts the connections that its Dial makes. Make it with Listen. All
// methods may be called concurrently.
type Listener struct {
	addr   Addr
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Addr is the name of a listener.
type Addr string

// Network implements net.Addr.
func (Addr) Network() string { return "memory" }

func (a Addr) String() string { return string(a) }

// Listen makes a listener; the name is for messages only.
func Listen(name string) *Listener {
	return &Listener{addr: Addr(name), dialed: make(chan net.Conn), closed: make(chan struct{})}
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.addr }

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialed:
		return c, nil
	case <-l.closed:
		return nil, l.err("accept")
	}
}

// Close implements net.Listener. Connections stay as they are.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Dial connects; it waits for Accept until ctx ends.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	client, server := l.pair()
	select {
	case <-l.closed:
		return nil, l.err("dial")
	default:
	}
	select {
	case l.dialed <- server:
		return client, nil
	case <-l.closed:
		return nil, l.err("dial")
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: l.addr.Network(), Addr: l.addr, Err: ctx.Err()}
	}
}

func (l *Listener) err(op string) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
}

func (l *Listener) pair() (client, server net.Conn) {
	up, down := newPipe(bufferBytes), newPipe(bufferBytes)
	return &conn{in: down, out: up, addr: l.addr}, &conn{in: up, out: down, addr: l.addr}
}

// conn is one end of a connection.
type conn struct {
	in, out *pipe
	addr    Addr
}

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close ends both directions: what was written can still be read at the other
// end, what was not read here is dropped.
func (c *conn) Close() error {
	c.out.end()
	c.in.abandon()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.addr }
func (c *conn) RemoteAddr() net.Addr { return c.addr }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.readBy.set(t)
	c.out.writeBy.set(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.readBy.set(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.writeBy.set(t)
	return nil
}
