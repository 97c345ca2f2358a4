package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// Append sends a frame of records stamped by this session, with IDs up to last,
// to the members. It returns when they are queued, or an error if the session
// has ended, and waits only while Config.QueueMax bytes are uncommitted, never for
// one of several storages. The frame must not be changed until last is committed
// or the session ended. An error after the session ended does not say that the
// records never appear. That a storage is full is no error: see Stalled.
func (s *Session) Append(ctx context.Context, frame record.Frame, last txn.ID) error {
	g, committed, links, err := s.enqueue(ctx, frame, last)
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := l.try(s.message(l, g, committed), l.answered); err != nil {
			s.notTaken(l, g, err)
		}
	}
	return nil
}

// enqueue makes room for a group, and returns it with the committed end and the
// replicas that take it directly.
func (s *Session) enqueue(ctx context.Context, frame record.Frame, last txn.ID) (group, txn.ID, []*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.mu.err == nil && !s.mu.queue.empty() && s.mu.queue.bytes+len(frame) > s.c.QueueMax {
		if err := s.waitForRoomLocked(ctx); err != nil {
			return group{}, 0, nil, err
		}
	}
	switch {
	case s.mu.err != nil:
		return group{}, 0, nil, s.mu.err
	case s.mu.closing:
		return group{}, 0, nil, ErrClosed
	}
	if err := s.mu.leader.Append(s.mu.queue.last+1, last); err != nil {
		return group{}, 0, nil, err
	}
	g := s.mu.queue.push(frame, last, s.id)
	s.sendLocked(len(frame), last)
	s.watchQueueLocked()
	return g, s.mu.leader.Committed(), s.mu.current, nil
}

// sendLocked notes that the current links are about to get a group. Those that
// have too much unanswered fall behind instead.
func (s *Session) sendLocked(bytes int, last txn.ID) {
	slow := false
	for _, l := range s.mu.current {
		if !l.window.fits(bytes, s.c.LinkMax) {
			s.fallBehindLocked(l, 0)
			slow = true
			continue
		}
		l.sent = last
		l.window.push(last, bytes)
	}
	if slow {
		s.listCurrentLocked()
	}
}

// waitForRoomLocked gives up mu until the queue has shrunk or the session ended.
func (s *Session) waitForRoomLocked(ctx context.Context) error {
	moved := s.waitLocked()
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-moved:
		return nil
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("append to partition %d: %w", s.c.Partition, context.Cause(ctx))
	}
}

// waitLocked returns a channel that is closed when the queue shrinks.
func (s *Session) waitLocked() <-chan struct{} {
	s.mu.waiters++
	return s.mu.moved
}

func (s *Session) wakeLocked() {
	if s.mu.waiters == 0 {
		return
	}
	s.mu.waiters = 0
	close(s.mu.moved)
	s.mu.moved = make(chan struct{})
}

func (s *Session) message(l *link, g group, committed txn.ID) session.Append {
	return session.Append{
		Partition: s.c.Partition, Session: s.id, Replica: l.self,
		PrevID: g.prev, PrevStamp: g.prevStamp, Committed: committed, Records: g.frame,
	}
}

// answered counts one replica's answer and tells of what it committed.
func (s *Session) answered(l *link, a session.Appended, err error) {
	if err != nil {
		s.refused(l, err)
		return
	}
	s.mu.Lock()
	if s.mu.err != nil || l.gone || a.Replica != l.self {
		s.mu.Unlock()
		return
	}
	s.tookLocked(l, a.Last)
	s.performLocked(s.mu.leader.Appended(l.storage, a))
	committed := s.committedLocked()
	if s.mu.closing {
		s.wakeLocked() // Close waits for all of them, not for a majority only
	}
	s.mu.Unlock()
	s.tell(committed)
}

// committedLocked returns the committed end and lets go of what lies below it.
func (s *Session) committedLocked() txn.ID {
	committed := s.mu.leader.Committed()
	if s.mu.queue.release(committed) {
		s.wakeLocked()
		s.mu.confirm.committedLocked(committed)
	}
	return committed
}

// notTaken deals with a group that a replica would not take: one without room
// keeps its place before the group, to get it later; any other is failed.
func (s *Session) notTaken(l *link, g group, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil || l.gone {
		return
	}
	wait, ok := s.noRoomLocked(l, g, err)
	if !ok {
		s.replicaFailedLocked(l.storage, err)
		return
	}
	if l.current { // nobody else sends to it
		s.fallBehindLocked(l, wait)
		s.listCurrentLocked()
	}
}

// noRoomLocked takes a group back that a replica had no room for, and returns how
// long to wait; false if the error is another.
func (s *Session) noRoomLocked(l *link, g group, err error) (time.Duration, bool) {
	full := errors.Is(err, session.ErrFull)
	if !full && !errors.Is(err, session.ErrBusy) {
		return 0, false
	}
	l.sent = g.prev
	l.window.takeBack()
	if !full {
		return busyWait, true
	}
	s.fullLocked(l, g.prev, err)
	return s.c.RetryFull, true
}

// busyWait is how long a storage whose queue is full is left alone: about what it
// takes to write a part of it.
const busyWait = 2 * time.Millisecond

// refused deals with a replica's answer that it did not take what it was sent.
func (s *Session) refused(l *link, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil || l.gone {
		return
	}
	full := errors.Is(err, session.ErrFull)
	if !full && !errors.Is(err, session.ErrBusy) {
		s.replicaFailedLocked(l.storage, err)
		return
	}
	l, wait := s.relinkLocked(l), busyWait
	if full {
		wait = s.c.RetryFull
		s.fullLocked(l, l.took, err)
	}
	s.fallBehindLocked(l, wait)
}

// tell calls Events.Committed, unless somebody has told of as much already.
// Answers of several replicas may race; told puts them into order.
func (s *Session) tell(committed txn.ID) {
	s.told.Lock()
	defer s.told.Unlock()
	if committed <= s.told.committed {
		return
	}
	s.told.committed = committed
	if s.c.Events.Committed != nil {
		s.c.Events.Committed(committed)
	}
}
