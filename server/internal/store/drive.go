package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/metadata"
)

// step tells the leader of an event and carries out what follows. A replica that
// begins to count may commit what it had answered before.
func (s *Session) step(e session.Event) {
	s.mu.Lock()
	if s.mu.err != nil {
		s.mu.Unlock()
		return
	}
	s.performLocked(s.mu.leader.Step(e))
	s.watchMajorityLocked()
	committed, isOpen := s.committedLocked(), s.mu.isOpen
	s.mu.Unlock()
	if isOpen {
		s.tell(committed)
	}
}

// performLocked carries out outputs in their order. Whatever waits is started
// here and comes back as an event; at most one call to the metadata and one to
// each storage is under way at a time, since the leader asks for no more.
func (s *Session) performLocked(out []session.Output) {
	for _, o := range out {
		switch o := o.(type) {
		case session.LoadM:
			s.goDo(s.loadM)
		case session.ChangeM:
			version := s.mu.version
			s.goDo(func() { s.changeM(o.M, version) })
		case session.SendOpen:
			s.goDo(func() { s.sendOpen(o) })
		case session.SendTruncate:
			s.goDo(func() { s.sendTruncate(o) })
		case session.SendCopy:
			s.goDo(func() { s.sendCopy(o) })
		case session.SendInstall:
			s.goDo(func() { s.sendInstall(o) })
		case session.Opened:
			s.openedLocked(o)
		case session.Ready:
			s.readyLocked(o)
		case session.Unfit:
			s.mu.failure = fmt.Errorf("storage %s: %w", o.Storage, o.Err)
			s.c.Logger.Warn("replica cannot take part", "storage", o.Storage, "session", int64(s.mu.leader.Session()), "error", o.Err)
			s.retryLater(o.Storage)
		case session.Ended:
			s.finishLocked(o.Err)
		}
	}
}

// goDo runs f beside the session, which waits for it when it ends. Only called
// while the session has not ended, with mu held.
func (s *Session) goDo(f func()) { s.wg.Go(f) }

func (s *Session) openedLocked(o session.Opened) {
	s.mu.high, s.mu.stamp, s.mu.isOpen = o.High, o.HighStamp, true
	s.id = s.mu.leader.Session()
	s.mu.queue.begin(o.High, o.HighStamp)
	s.told.committed = o.High // nobody tells before isOpen is seen under mu
	close(s.opened)
	s.c.Logger.Info("store session opened", "session", int64(s.mu.leader.Session()), "high_water_mark", int64(o.High))
}

// loadM reads M. While opening, a failure ends the attempt; an open session
// needs the metadata only to count a returning replica, and tries again.
func (s *Session) loadM() {
	for {
		m, version, err := metadata.LoadPartition(s.ctx, s.c.Metadata, s.c.Partition)
		if err == nil {
			s.mu.Lock()
			s.mu.version = version
			s.mu.Unlock()
			s.step(session.Loaded{M: m})
			return
		}
		if !s.isOpen() || errors.Is(err, metadata.ErrNotFound) {
			s.finish(fmt.Errorf("read the state of partition %d: %w", s.c.Partition, err))
			return
		}
		if !s.sleep(s.c.Backoff) {
			return
		}
	}
}

// changeM changes M by compare-and-set on the version that was read (rule 1).
func (s *Session) changeM(m session.PartitionState, version metadata.Version) {
	version, err := metadata.SavePartition(s.ctx, s.c.Metadata, s.c.Partition, m, version)
	switch {
	case err == nil:
		s.mu.Lock()
		s.mu.version = version
		s.mu.Unlock()
		s.step(session.Changed{})
	case errors.Is(err, metadata.ErrVersion), errors.Is(err, metadata.ErrUnknown), s.isOpen():
		s.c.Logger.Warn("metadata of the partition was not changed", "error", err)
		s.step(session.NotChanged{})
	default:
		s.finish(fmt.Errorf("change the state of partition %d: %w", s.c.Partition, err))
	}
}

func (s *Session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.isOpen
}

func (s *Session) sendOpen(o session.SendOpen) {
	s.call(o.Storage, func(ctx context.Context, r Replica) (session.Event, error) {
		p, err := r.Open(ctx, o.Message)
		return session.Promised{Storage: o.Storage, Promise: p}, err
	})
}

func (s *Session) sendTruncate(o session.SendTruncate) {
	s.call(o.Storage, func(ctx context.Context, r Replica) (session.Event, error) {
		return session.Truncated{Storage: o.Storage, Replica: o.Message.Replica}, r.Truncate(ctx, o.Message)
	})
}

func (s *Session) sendInstall(o session.SendInstall) {
	s.call(o.Storage, func(ctx context.Context, r Replica) (session.Event, error) {
		return session.Installed{Storage: o.Storage, Replica: o.Message.Replica}, r.Install(ctx, o.Message)
	})
}

// sendCopy moves one message full of records from one storage to another.
func (s *Session) sendCopy(o session.SendCopy) {
	from, ok := s.c.Replicas[o.From]
	if !ok {
		s.replicaFailed(o.From, errUnreachable)
		s.replicaFailed(o.Storage, errUnreachable)
		return
	}
	frame, err := from.Read(s.ctx, s.c.Partition, o.First, o.Last, s.c.CopyMax)
	if err != nil {
		s.replicaFailed(o.From, err)
		s.replicaFailed(o.Storage, fmt.Errorf("copy from storage %s: %w", o.From, err))
		return
	}
	span, err := frame.Check()
	if err != nil {
		s.replicaFailed(o.From, err)
		s.replicaFailed(o.Storage, fmt.Errorf("copy from storage %s: %w", o.From, err))
		return
	}
	s.call(o.Storage, func(ctx context.Context, r Replica) (session.Event, error) {
		m := o.Message
		m.Records = frame
		return session.Copied{Storage: o.Storage, Replica: m.Replica, Last: span.Last}, r.Copy(ctx, m)
	})
}

var errUnreachable = errors.New("storage is not known to this server")

// call makes one call to a storage and tells the leader what came of it.
func (s *Session) call(storage string, f func(context.Context, Replica) (session.Event, error)) {
	r, ok := s.c.Replicas[storage]
	if !ok {
		s.replicaFailed(storage, errUnreachable)
		return
	}
	e, err := f(s.ctx, r)
	if err != nil {
		s.replicaFailed(storage, err)
		return
	}
	s.step(e)
}

// replicaFailed puts a replica aside and tries it again later.
func (s *Session) replicaFailed(storage string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replicaFailedLocked(storage, err)
}

func (s *Session) replicaFailedLocked(storage string, err error) {
	if s.mu.err != nil {
		return
	}
	s.c.Logger.Warn("replica failed", "storage", storage, "session", int64(s.mu.leader.Session()), "error", err)
	if s.mu.failure == nil || !record.IsCorrupt(err) { // damage is final, so it may not hide what passes
		s.mu.failure = fmt.Errorf("storage %s: %w", storage, err)
	}
	s.unlinkLocked(storage)
	s.performLocked(s.mu.leader.Step(session.Failed{Storage: storage, Err: err}))
	if s.watchMajorityLocked(); s.mu.err == nil {
		s.retryLater(storage)
	}
}

// retryLater has a replica opened anew after a while.
func (s *Session) retryLater(storage string) {
	s.goDo(func() {
		if s.sleep(s.c.Backoff) {
			s.step(session.Retry{Storage: storage})
		}
	})
}

// watchMajorityLocked starts and stops the count-down of a session whose
// majority does not answer.
func (s *Session) watchMajorityLocked() {
	switch {
	case s.mu.err != nil:
	case s.mu.leader.Alive():
		s.mu.lostFrom = time.Time{}
	case s.c.LostMax <= 0:
		s.finishLocked(fmt.Errorf("%w: %w", ErrNoMajority, s.mu.failure))
	case s.mu.lostFrom.IsZero():
		from := time.Now()
		s.mu.lostFrom = from
		s.goDo(func() { s.endIfLostSince(from) })
	}
}

func (s *Session) endIfLostSince(from time.Time) {
	if !s.sleep(s.c.LostMax) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.lostFrom.Equal(from) {
		s.finishLocked(fmt.Errorf("%w for %v: %w", ErrNoMajority, s.c.LostMax, s.mu.failure))
	}
}

// sleep waits, and reports false if the session ended meanwhile.
func (s *Session) sleep(d time.Duration) bool { return sleep(s.ctx, d) }

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
