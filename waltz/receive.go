package waltz

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/waltz/internal/codec"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// receive is the goroutine that opens streams when they are wanted and takes
// the answers.
func (l *link) receive() {
	b := newBackOff()
	b.Reset()
	var trouble outage
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
		if trouble.news(answered) {
			l.c.log.Warn("append stream broken", "server", l.addr, "err", err)
		}
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
	stream, err := l.openAppend(ctx)
	if err != nil {
		err = fmt.Errorf("connect to %s: %w", l.addr, err)
		l.c.mu.Lock()
		l.trouble = err
		l.c.mu.Unlock()
		return false, err
	}
	l.opened(stream)
	answered, err = l.takeAnswers(stream)
	err = fmt.Errorf("appends to %s: %w", l.addr, callError(err))
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
	l.c.stirAllLocked()
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
		l.c.stirAllLocked()
	} else {
		l.stirLocked() // a refusal may have put something back
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
		o := t.in.Refused[i].Outcome
		p, err := l.lane.Refused(t.in.Refused[i].Seq, o)
		if err != nil {
			return err
		}
		if o.Reason == monitor.MarkTooOld {
			l.c.learn(p, o.ID)
		}
		if o.Reason.ForNow() {
			l.c.router.kick()
			t.news = l.c.ailsLocked(p, o, t.news)
		}
	}
	return nil
}

// stirAllLocked sends what was let in because something left; it may be of any
// server.
func (c *Client) stirAllLocked() {
	for _, l := range c.links {
		l.stirLocked()
	}
}
