package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

// step tells the leader of an event and carries out what follows. A replica that
// begins to count may commit what it had answered before.
func (s *Session) step(e session.Event) { s.stepAfter("", e) }

// stepAfter is step for the event that a storage's answer is.
func (s *Session) stepAfter(storage string, e session.Event) {
	s.mu.Lock()
	if s.mu.err != nil {
		s.mu.Unlock()
		return
	}
	if t := s.mu.troubles[storage]; t != nil {
		t.err = nil // it answers, and whether it can take part the leader says now
	}
	s.performLocked(s.mu.leader.Step(e))
	s.watchMajorityLocked()
	if s.mu.closing {
		s.wakeLocked() // Close waits for M, too
	}
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
			sources := s.mu.leader.Sources(o)
			s.goDo(func() { s.sendCopy(o, sources) })
		case session.SendInstall:
			s.goDo(func() { s.sendInstall(o) })
		case session.Opened:
			s.openedLocked(o)
		case session.Ready:
			s.readyLocked(o)
		case session.Unfit:
			s.retryLater(o.Storage, s.troubleLocked(o.Storage, "replica cannot take part", o.Err))
			s.mu.troubles[o.Storage].err = o.Err
		case session.Switchable:
			s.switchableLocked(o)
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
	s.goDo(s.beat)
	if s.c.HealEvery > 0 {
		s.goDo(s.heal)
	}
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
		if s.isOpen() && !errors.Is(err, metadata.ErrVersion) && !s.sleep(s.c.Backoff) {
			return // or it would be tried again as fast as it fails
		}
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

// sendCopy moves one message full of records from one storage to another, while
// the next is read.
func (s *Session) sendCopy(o session.SendCopy, sources []string) {
	frame, span, err := s.fetch(o.Storage, o.First, o.Last, func(ctx context.Context, first txn.ID) (record.Frame, error) {
		return s.readAny(ctx, sources, first, o.Last)
	})
	if err != nil {
		s.notRead(o, err)
		return
	}
	s.copied.Add(uint64(len(frame)))
	s.tellCopy(o)
	s.call(o.Storage, func(ctx context.Context, r Replica) (session.Event, error) {
		m := o.Message
		m.Records = frame
		return session.Copied{Storage: o.Storage, Replica: m.Replica, Last: span.Last}, r.Copy(ctx, m)
	})
}

// tellCopy tells of a replica that is copied to before it takes appends, at first
// and then once in a while.
func (s *Session) tellCopy(o session.SendCopy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.mu.told[o.Storage]) >= progressEvery {
		s.mu.told[o.Storage] = now
		s.c.Logger.Info("replica is copied to", "storage", o.Storage, "session", int64(s.mu.leader.Session()), "at", int64(o.First), "to", int64(o.Last))
	}
}

// readAny reads from the first storage that can give the records.
func (s *Session) readAny(ctx context.Context, sources []string, first, last txn.ID) (record.Frame, error) {
	var errs []error
	for _, name := range sources {
		err := errUnreachable
		if r, ok := s.replica(name); ok {
			var f record.Frame
			if f, err = r.Read(ctx, s.c.Partition, first, last, s.c.CopyMax); err == nil {
				err = s.ours(f)
			}
			if err == nil {
				return f, nil
			}
		}
		errs = append(errs, fmt.Errorf("copy from storage %s: %w", name, err))
	}
	return nil, errors.Join(errs...)
}

// notRead deals with records that nobody can give. In an open session that fails
// the replica that lacks them, and no other: appends go on without it. Before,
// it may be that the source of the choice is lost, and with it the attempt; but
// one that is damaged somewhere has not lost its vote.
func (s *Session) notRead(o session.SendCopy, err error) {
	if !s.isOpen() && !record.IsCorrupt(err) {
		s.replicaFailed(o.From, err)
	}
	s.replicaFailed(o.Storage, err)
}

var errUnreachable = errors.New("storage is not known to this server")

// call makes one call to a storage and tells the leader what came of it.
func (s *Session) call(storage string, f func(context.Context, Replica) (session.Event, error)) {
	r, ok := s.replica(storage)
	if !ok {
		s.replicaFailed(storage, errUnreachable)
		return
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, s.c.AnswerMax, s.noAnswer())
	defer cancel()
	e, err := f(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		s.replicaFailed(storage, err)
		return
	}
	s.stepAfter(storage, e)
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
	wait := s.troubleLocked(storage, "replica failed", err)
	s.mu.troubles[storage].err = err
	s.unlinkLocked(storage)
	s.dropAheadLocked(storage)
	s.performLocked(s.mu.leader.Step(session.Failed{Storage: storage, Err: err}))
	if s.watchMajorityLocked(); s.mu.err == nil {
		s.retryLater(storage, wait)
	}
}

// retryLater has a replica opened anew after a while.
func (s *Session) retryLater(storage string, wait time.Duration) {
	s.goDo(func() {
		if s.sleep(wait) {
			s.step(session.Retry{Storage: storage})
		}
	})
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
