package waltz

import (
	"context"
	"fmt"
	"runtime"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/waltz/internal/codec"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// groupBytes is how long a message of appends gets unless one transaction is
// longer: what fits a 32 KiB buffer (BASELINES §5) with the message's own fields.
const groupBytes = 32<<10 - 128

// link is the connection to one server and its append stream, shared by all
// partitions.
//
// Grouping needs no timer. When nothing is on the way, the goroutine that appends
// sends its transaction itself: one append alone passes no queue and wakes nobody.
// Otherwise the sender goroutine takes all that waits; before it looks, it lets
// every goroutine that can run come by (Gosched), since one answer wakes many
// callers and they append again in the same instant.
type link struct {
	c    *Client
	addr string
	conn *grpc.ClientConn
	api  clientpb.WaltzClient
	lane *monitor.Lane // guarded by Client.mu

	ctx    context.Context
	cancel context.CancelFunc
	demand chan struct{} // a stream is wanted
	work   chan struct{} // the sender is wanted

	// Guarded by Client.mu.
	stream  grpc.ClientStream // nil: none
	first   bool              // nothing was sent on it
	sending bool              // somebody is in pump
	trouble error             // why the last stream ended, or none was had
}

func (c *Client) addLink(addr string) error {
	conn, err := c.dialServer(addr)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	l := &link{
		c: c, addr: addr, conn: conn, api: clientpb.NewWaltzClient(conn),
		demand: make(chan struct{}, 1), work: make(chan struct{}, 1),
	}
	l.ctx, l.cancel = context.WithCancel(c.ctx)
	c.mu.Lock()
	l.lane = c.monitor.NewLane()
	c.links[addr] = l
	c.mu.Unlock()
	c.spawn(l.receive)
	c.spawn(l.send)
	return nil
}

// end closes a link that is not in use any more.
func (l *link) end() {
	l.cancel()
	_ = l.conn.Close() // nobody is there to tell
}

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
	var g codec.Group
	l.fillLocked(&g)
	l.c.mu.Unlock()

	err := stream.SendMsg(&g) // the receiver learns why, if it fails

	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if err == nil && l.lane.Sendable() {
		return true
	}
	l.sending = false
	return false
}

// fillLocked encodes the next message. Bodies are copied here, under the lock:
// afterwards their attempts may be answered, and used for something else.
func (l *link) fillLocked(g *codec.Group) {
	first, group := l.lane.Next(groupBytes)
	size := 0
	for _, a := range group {
		size += len(a.Body) + 8
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
		g.Add(a.Body, a.Unsure)
	}
}

// receive is the goroutine that opens streams when they are wanted and takes
// the answers.
func (l *link) receive() {
	b := newBackOff()
	b.Reset()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.demand:
		}
		answered, err := l.runStream()
		if l.ctx.Err() != nil {
			return
		}
		l.c.router.kick()
		if answered {
			b.Reset()
		}
		l.c.log.Warn("append stream broken", "server", l.addr, "err", err)
		if pause(l.ctx, b) != nil {
			return
		}
		l.c.mu.Lock()
		l.stirLocked()
		l.c.mu.Unlock()
	}
}

// runStream opens a stream and takes answers until it breaks.
func (l *link) runStream() (answered bool, err error) {
	ctx, cancel := context.WithCancel(l.ctx)
	defer cancel()
	stream, err := l.conn.NewStream(ctx, &clientpb.Waltz_ServiceDesc.Streams[0], clientpb.Waltz_Append_FullMethodName)
	if err != nil {
		err = fmt.Errorf("connect to %s: %w", l.addr, statusError(err))
		l.c.mu.Lock()
		l.trouble = err
		l.c.mu.Unlock()
		return false, err
	}
	l.opened(stream)
	answered, err = l.takeAnswers(stream)
	err = fmt.Errorf("appends to %s: %w", l.addr, statusError(err))
	l.broken(err)
	return answered, err
}

func (l *link) opened(stream grpc.ClientStream) {
	l.c.mu.Lock()
	l.stream, l.first, l.trouble = stream, true, nil
	l.lane.Open()
	l.stirLocked()
	l.c.mu.Unlock()
	l.c.log.Info("append stream open", "server", l.addr)
	if hook := l.c.opts.hooks.Connected; hook != nil {
		hook(l.addr)
	}
}

// broken takes what was unanswered back, to be sent again (I4).
func (l *link) broken(err error) {
	l.c.mu.Lock()
	out := l.lane.Out()
	l.stream, l.trouble = nil, err
	l.lane.Break()
	l.c.stirHeldLocked()
	l.c.mu.Unlock()
	if hook := l.c.opts.hooks.Disconnected; hook != nil && l.ctx.Err() == nil {
		hook(l.addr, out, err)
	}
}

// intake is what one message of answers leads to, once the lock is free.
type intake struct {
	in    codec.Answers
	woken []*attempt
	news  []news
}

// news is a partition that began to refuse for now, or that serves again.
type news struct {
	partition Partition
	outcome   monitor.Outcome
}

func (l *link) takeAnswers(stream grpc.ClientStream) (answered bool, err error) {
	var t intake
	for {
		if err := stream.RecvMsg(&t.in); err != nil {
			return answered, err
		}
		err := l.take(&t)
		for i, a := range t.woken {
			notify(a.wake)
			t.woken[i] = nil
		}
		for _, n := range t.news {
			l.c.tell(n)
		}
		if err != nil {
			return answered, err
		}
		answered = true
	}
}

// take books one message of answers.
func (l *link) take(t *intake) error {
	t.woken, t.news = t.woken[:0], t.news[:0]
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	held := l.c.monitor.Held()
	err := l.bookLocked(t)
	for _, a := range l.c.monitor.TakeDone() {
		t.woken = append(t.woken, a.Shell.(*attempt))
	}
	if held > 0 {
		l.c.stirHeldLocked()
	}
	return err
}

func (l *link) bookLocked(t *intake) error {
	for i := range t.in.Committed {
		r := &t.in.Committed[i]
		if err := l.lane.Committed(r.FirstSeq, r.Count, r.Partition, r.FirstID); err != nil {
			return err
		}
		if r.Count > 0 {
			l.c.learn(r.Partition, r.FirstID+ID(r.Count)-1)
			t.news = l.c.servesLocked(r.Partition, t.news)
		}
	}
	for i := range t.in.Refused {
		o := outcomeOf(&t.in.Refused[i])
		p, err := l.lane.Refused(t.in.Refused[i].Seq, o)
		if err != nil {
			return err
		}
		if o.Reason.ForNow() {
			l.c.router.kick()
			t.news = l.c.ailsLocked(p, o, t.news)
		}
	}
	return nil
}

// stirHeldLocked sends what was let in because something left; it may be of any
// server.
func (c *Client) stirHeldLocked() {
	for _, l := range c.links {
		l.stirLocked()
	}
}
