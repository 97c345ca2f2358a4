package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// progressEvery is how often the log tells of a replica that catches up.
const progressEvery = 10 * time.Second

var errNobodyToReadFrom = errors.New("no other storage has the records")

// catchUp sends a replica what the others have got, until it can take new
// groups directly:
//
//   - what is far back is read from another storage, in messages of
//     Config.CopyMax bytes, one at a time; the next is read meanwhile,
//   - the last stretch up to the committed end is not waited for, and what is
//     committed until it is sent is kept by the queue,
//   - so what follows is in memory, and is sent as fast as the replica's window
//     lets it; at its end the link is current.
func (s *Session) catchUp(l *link) {
	p := progress{s: s, l: l, began: time.Now(), from: txn.None}
	for {
		next := s.next(l)
		var err error
		switch {
		case next.over:
			p.end()
			return
		case next.wait:
			if !l.await() {
				return
			}
			continue
		case next.frame != nil:
			err = l.replica.Append(l.ctx, s.message(l, next.group, next.committed), l.answered)
		default:
			err = s.sendOlder(l, &next, &p)
		}
		if err != nil && !s.notCaughtUp(l, &next, err) {
			return
		}
	}
}

// step is what a link that is behind needs next.
type step struct {
	group
	committed txn.ID
	over      bool // nothing: it is current, or gone
	wait      bool // an answer
}

// next returns what the link needs next: a group from memory, or one without
// frame that must be read.
func (s *Session) next(l *link) step {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil || l.gone {
		return step{over: true}
	}
	if l.sent == s.mu.queue.last {
		l.current, l.keep, l.older = true, keepNothing, nil
		s.listCurrentLocked()
		return step{over: true}
	}
	n := step{committed: s.mu.leader.Committed()}
	g, held := s.mu.queue.behind(l.sent)
	if !held {
		if n.wait = len(l.window.sent) > 0; n.wait {
			return n
		}
		l.keep = n.committed
		s.keepLocked()
		n.group = group{prev: l.sent, prevStamp: s.mu.leader.StampAt(l.sent), last: n.committed}
		return n
	}
	if !l.window.fits(len(g.frame), s.c.LinkMax) {
		n.wait = true
		return n
	}
	l.keep, l.older = g.last, nil
	s.keepLocked()
	l.sent = g.last
	l.window.push(g.last, len(g.frame))
	n.group = g
	return n
}

// await waits until the replica has answered something; false if the link is gone.
func (l *link) await() bool {
	select {
	case <-l.room:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// sendOlder reads committed records from another storage and sends them. Unless
// they reach the committed end it waits for the answer, so that one message at a
// time is under way. One that was not taken for want of room is not read again.
func (s *Session) sendOlder(l *link, n *step, p *progress) error {
	goal := n.last
	m, err := s.older(l, n.prev+1, goal)
	if err != nil {
		return &sourceError{err}
	}
	n.frame, n.last = m.frame, m.span.Last
	s.mu.Lock()
	l.sent = n.last
	l.window.push(n.last, len(m.frame))
	s.mu.Unlock()
	if err := l.replica.Append(l.ctx, s.message(l, n.group, n.committed), l.answered); err != nil {
		return err
	}
	p.sent(n.group, goal)
	for n.last < goal && !s.has(l, n.last) {
		if !l.await() {
			return nil // next finds out
		}
	}
	return nil
}

// message is records that were read and checked.
type message struct {
	frame record.Frame
	span  record.Span
}

// older returns the message that begins with first: the last one again, or one
// that is read.
func (s *Session) older(l *link, first, last txn.ID) (*message, error) {
	s.mu.Lock()
	m := l.older
	s.mu.Unlock()
	if m != nil && m.span.First == first {
		return m, nil
	}
	frame, span, err := s.fetch(l.storage, first, last, func(ctx context.Context, first txn.ID) (record.Frame, error) {
		return s.readWithout(ctx, l, first, last, s.c.CopyMax)
	})
	if err != nil {
		return nil, err
	}
	m = &message{frame, span}
	s.mu.Lock()
	l.older = m
	s.mu.Unlock()
	return m, nil
}

func (s *Session) has(l *link, id txn.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.took >= id || l.sent < id // or it had to be taken back
}

// sourceError is an error of those that a replica should be caught up from.
type sourceError struct{ error }

// notCaughtUp deals with an error on the way. Nobody to read from is no fault of
// the replica's: it stays where it is. It reports whether the link goes on.
func (s *Session) notCaughtUp(l *link, n *step, err error) bool {
	s.mu.Lock()
	if s.mu.err != nil || l.gone {
		s.mu.Unlock()
		return false
	}
	var wait time.Duration
	if source, ok := errors.AsType[*sourceError](err); ok {
		wait = s.troubleLocked(l.storage, "replica can't be caught up", source.error)
	} else if wait, ok = s.noRoomLocked(l, n.group, err); !ok {
		s.replicaFailedLocked(l.storage, err)
		s.mu.Unlock()
		return false
	}
	s.mu.Unlock()
	return sleep(l.ctx, wait)
}

// progress tells how a replica catches up.
type progress struct {
	s     *Session
	l     *link
	began time.Time
	said  time.Time
	from  txn.ID
	bytes int
}

// sent notes that older records were sent. A full storage is sent the same again and
// again, which is no progress.
func (p *progress) sent(g group, goal txn.ID) {
	p.bytes += len(g.frame)
	p.s.copied.Add(uint64(len(g.frame)))
	switch now := time.Now(); {
	case p.s.isFull(p.l):
	case p.from == txn.None:
		p.from, p.said = g.prev+1, now
		p.s.c.Logger.Info("replica catches up", "storage", p.l.storage, "session", int64(p.s.id), "from", int64(p.from), "to", int64(goal))
	case now.Sub(p.said) >= progressEvery:
		p.said = now
		p.s.c.Logger.Info("replica is catching up", "storage", p.l.storage, "session", int64(p.s.id), "at", int64(g.last), "to", int64(goal), "mb_per_second", p.rate())
	}
}

func (p *progress) rate() int {
	return int(float64(p.bytes) / 1e6 / max(time.Since(p.began).Seconds(), 1e-6))
}

// end tells that nothing is left to do, if there was something to tell.
func (p *progress) end() {
	if p.from == txn.None || p.l.ctx.Err() != nil || p.s.isFull(p.l) {
		return
	}
	p.s.c.Logger.Info("replica has caught up", "storage", p.l.storage, "session", int64(p.s.id), "from", int64(p.from),
		"bytes", p.bytes, "took", time.Since(p.began), "mb_per_second", p.rate())
}

// ahead is a read that was begun before it was asked for.
type ahead struct {
	first  txn.ID
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	frame  record.Frame
	err    error
}

// fetch reads records from first to last for a storage that lacks them, at least
// one, and begins to read what follows, so that one storage reads while another
// writes. One such read for each storage is under way or held.
func (s *Session) fetch(to string, first, last txn.ID, read func(context.Context, txn.ID) (record.Frame, error)) (record.Frame, record.Span, error) {
	s.mu.Lock()
	got := s.mu.ahead[to]
	s.mu.Unlock()
	if got != nil {
		if got.first != first {
			got.cancel() // it was for naught
		}
		select {
		case <-got.done:
		case <-s.ctx.Done():
			return nil, record.Span{}, context.Cause(s.ctx)
		}
		s.mu.Lock()
		if s.mu.ahead[to] == got {
			delete(s.mu.ahead, to)
		}
		s.mu.Unlock()
	}
	if got == nil || got.first != first || got.err != nil {
		got = s.newAhead(first)
		got.read(read)
	}
	if got.err != nil {
		return nil, record.Span{}, got.err
	}
	span, err := got.frame.Check()
	if err != nil {
		return nil, span, fmt.Errorf("read for storage %s: %w", to, err)
	}
	if span.First != first || span.Last > last {
		return nil, span, fmt.Errorf("read for storage %s: got transactions %d to %d of %d to %d", to, span.First, span.Last, first, last)
	}
	if span.Last < last {
		s.fetchAhead(to, span.Last+1, read)
	}
	return got.frame, span, nil
}

func (s *Session) fetchAhead(to string, first txn.ID, read func(context.Context, txn.ID) (record.Frame, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return
	}
	s.dropAheadLocked(to)
	a := s.newAhead(first)
	s.mu.ahead[to] = a
	s.goDo(func() { a.read(read) })
}

// dropAheadLocked gives up what was read ahead for a storage. One that is still
// under way ends soon, and is waited for by the next.
func (s *Session) dropAheadLocked(to string) {
	a := s.mu.ahead[to]
	if a == nil {
		return
	}
	a.cancel()
	select {
	case <-a.done:
		delete(s.mu.ahead, to)
	default:
	}
}

func (s *Session) newAhead(first txn.ID) *ahead {
	a := &ahead{first: first, done: make(chan struct{})}
	a.ctx, a.cancel = context.WithTimeoutCause(s.ctx, s.c.AnswerMax, s.noAnswer())
	return a
}

func (a *ahead) read(read func(context.Context, txn.ID) (record.Frame, error)) {
	defer close(a.done)
	defer a.cancel()
	a.frame, a.err = read(a.ctx, a.first)
}

// noAnswer is the cause of a call's end that took too long.
func (s *Session) noAnswer() error { return fmt.Errorf("%w for %v", ErrNoAnswer, s.c.AnswerMax) }
