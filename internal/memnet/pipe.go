package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipe is one direction of a connection: a ring of bytes. It grows by doubling
// up to its bound, so an idle connection takes little.
type pipe struct {
	max int

	mu       sync.Mutex
	readable sync.Cond
	writable sync.Cond
	ring     []byte
	head, n  int
	ended    bool // the writer has closed: what is there can still be read
	broken   bool // the reader has closed: nobody will read

	readBy, writeBy deadline
}

const ringMin = 4 << 10

func newPipe(bytesMax int) *pipe {
	p := &pipe{max: bytesMax}
	p.readable.L, p.writable.L = &p.mu, &p.mu
	p.readBy.wake, p.writeBy.wake = &p.readable, &p.writable
	return p
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.n == 0 {
		switch {
		case p.broken:
			return 0, net.ErrClosed
		case p.ended:
			return 0, io.EOF
		case p.readBy.passed:
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		}
		p.readable.Wait()
	}
	n := 0
	for n < len(b) && p.n > 0 { // twice at most: up to the ring's end, and from its start
		k := copy(b[n:], p.ring[p.head:min(p.head+p.n, len(p.ring))])
		p.head = (p.head + k) % len(p.ring)
		p.n -= k
		n += k
	}
	p.writable.Signal()
	return n, nil
}

func (p *pipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(b) {
		switch {
		case p.ended:
			return n, net.ErrClosed
		case p.broken:
			return n, io.ErrClosedPipe
		case p.writeBy.passed:
			return n, os.ErrDeadlineExceeded
		case p.n == p.max:
			p.writable.Wait()
			continue
		}
		n += p.fill(b[n:])
		p.readable.Signal()
	}
	return n, nil
}

// fill copies what fits into the ring, which is not full.
func (p *pipe) fill(b []byte) int {
	if need := min(p.n+len(b), p.max); need > len(p.ring) {
		p.grow(need)
	}
	tail := (p.head + p.n) % len(p.ring)
	end := len(p.ring)
	if tail < p.head {
		end = p.head
	}
	k := copy(p.ring[tail:end], b)
	p.n += k
	return k
}

func (p *pipe) grow(need int) {
	size := max(ringMin, len(p.ring))
	for size < need {
		size *= 2
	}
	ring := make([]byte, min(size, p.max))
	k := copy(ring, p.ring[p.head:min(p.head+p.n, len(p.ring))])
	copy(ring[k:p.n], p.ring)
	p.ring, p.head = ring, 0
}

// end closes the writer's side.
func (p *pipe) end() { p.change(func() { p.ended = true }) }

// abandon closes the reader's side, and drops what was not read.
func (p *pipe) abandon() {
	p.change(func() { p.broken, p.ring, p.head, p.n = true, nil, 0, 0 })
}

func (p *pipe) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.readBy.stop()
	p.writeBy.stop()
	p.readable.Broadcast()
	p.writable.Broadcast()
}

// deadline wakes who waits when its time has come. Its fields are guarded by
// the pipe's mutex.
type deadline struct {
	wake   *sync.Cond
	timer  *time.Timer
	passed bool
}

// set moves the deadline; the zero time is none.
func (d *deadline) set(t time.Time) {
	d.wake.L.Lock()
	defer d.wake.L.Unlock()
	d.stop()
	d.passed = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.pass()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() {
		d.wake.L.Lock()
		defer d.wake.L.Unlock()
		if d.timer == timer { // else it was moved meanwhile
			d.pass()
		}
	})
	d.timer = timer
}

func (d *deadline) pass() {
	d.passed = true
	d.wake.Broadcast()
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}
