package waltz

import (
	"runtime"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz/internal/codec"
)

// groupBytes is how long a message of appends gets unless one transaction is
// longer: what fits a 32 KiB buffer (BASELINES §5) with the message's own fields.
const groupBytes = 32<<10 - 128

// stirLocked sees to it that what waits is sent: by a stream first, then by the
// sender unless somebody sends already.
func (l *link) stirLocked() {
	switch {
	case l.lane.Waiting() == 0:
	case l.stream == nil:
		notify(l.demand)
	case !l.sending:
		notify(l.work)
	}
}

// claimLocked makes the caller the one who sends, if there is something to send.
func (l *link) claimLocked() bool {
	if l.sending || l.stream == nil || !l.lane.Sendable() {
		return false
	}
	l.sending = true
	return true
}

// send is the sender goroutine.
func (l *link) send() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.work:
		}
		runtime.Gosched()
		l.c.mu.Lock()
		mine := l.claimLocked()
		l.c.mu.Unlock()
		for mine {
			mine = l.pump()
			runtime.Gosched()
		}
	}
}

// pump sends one message of what waits. The caller has claimed, and keeps its
// claim if pump returns true: there is more.
func (l *link) pump() bool {
	l.c.mu.Lock()
	stream := l.stream
	if stream == nil || !l.lane.Sendable() {
		l.sending = false
		l.c.mu.Unlock()
		return false
	}
	g := codec.Group{Pool: l.c.pool}
	l.fillLocked(&g)
	l.c.mu.Unlock()

	err := stream.SendMsg(&g) // the receiver learns why, if it fails

	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if err == nil && l.lane.Sendable() {
		return true
	}
	l.sending = false
	l.stirLocked() // the next stream may have opened while this one's message failed
	return false
}

// fillLocked encodes the next message. Bodies are copied here, under the lock:
// afterwards their attempts may be answered, and used for something else.
func (l *link) fillLocked(g *codec.Group) {
	first, group := l.lane.Next(groupBytes)
	size := 0
	for _, a := range group {
		size += len(a.Body) + codec.Framing
	}
	key := ""
	if l.first {
		key, l.first = l.c.cluster.key, false
	}
	g.Begin(size, first, key)
	for _, a := range group {
		if a.Unsure && mutant.On("resend-with-new-request-id") {
			codec.ChangeRequest(a.Body, newRequestID())
		}
		g.Add(a.Body, a.SentMark, a.Unsure)
	}
}
