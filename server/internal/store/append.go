package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// Append sends a frame of records stamped by this session, with IDs up to last,
// to the members. It returns when they are queued, or an error if the session
// has ended, and waits only while Config.QueueMax bytes are uncommitted. The
// frame must not be changed until last is committed or the session ended. An
// error after the session ended does not say that the records never appear. That
// a storage is full is no error: see Stalled.
func (s *Session) Append(ctx context.Context, frame record.Frame, last txn.ID) error {
	g, committed, links, err := s.enqueue(ctx, frame, last)
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := s.send(l, g, committed); err != nil {
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
	for _, l := range s.mu.current {
		l.sent = last
	}
	s.watchQueueLocked()
	return g, s.mu.leader.Committed(), s.mu.current, nil
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

// send gives a group to one replica without waiting for its answer.
func (s *Session) send(l *link, g group, committed txn.ID) error {
	return s.sendAnd(l, g, committed, l.answered)
}

func (s *Session) sendAnd(l *link, g group, committed txn.ID, done func(session.Appended, error)) error {
	return l.replica.Append(s.ctx, session.Append{
		Partition: s.c.Partition, Session: s.id, Replica: l.self,
		PrevID: g.prev, PrevStamp: g.prevStamp, Committed: committed, Records: g.frame,
	}, done)
}

// answered counts one replica's answer and tells of what it committed.
func (s *Session) answered(l *link, a session.Appended, err error) {
	if err != nil {
		s.linkFailed(l, err)
		return
	}
	s.mu.Lock()
	if s.mu.err != nil || l.gone {
		s.mu.Unlock()
		return
	}
	s.tookLocked(l, a.Last)
	s.performLocked(s.mu.leader.Appended(l.storage, a))
	committed := s.committedLocked()
	s.mu.Unlock()
	s.tell(committed)
}

// committedLocked returns the committed end and lets go of what lies below it.
func (s *Session) committedLocked() txn.ID {
	committed := s.mu.leader.Committed()
	if s.mu.queue.release(committed) {
		s.wakeLocked()
	}
	return committed
}

func (s *Session) linkFailed(l *link, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.gone {
		s.replicaFailedLocked(l.storage, err)
	}
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

// unlinkLocked takes a replica out of those that take appends.
func (s *Session) unlinkLocked(storage string) {
	i := slices.IndexFunc(s.mu.links, func(l *link) bool { return l.storage == storage })
	if i < 0 {
		return
	}
	s.mu.links[i].gone = true
	s.mu.links = slices.Concat(s.mu.links[:i], s.mu.links[i+1:])
	s.listCurrentLocked()
	s.watchStallLocked()
}

// listCurrentLocked makes the list of links that take new groups directly. It is
// replaced, never changed, since Append walks it without mu.
func (s *Session) listCurrentLocked() {
	var current []*link
	for _, l := range s.mu.links {
		if l.current {
			current = append(current, l)
		}
	}
	s.mu.current = current
}
