package storage

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
)

// CreateReplica makes an empty replica of a partition, durable on return, and
// returns its identity; if there is one already, that one's. If one was removed
// and its files were kept, they are the new one's, as after a Reset with Keep.
func (s *Storage) CreateReplica(ctx context.Context, p txn.Partition) (session.Replica, error) {
	self, err := s.createReplica(ctx, p)
	if err != nil {
		return session.Replica{}, fmt.Errorf("create replica of partition %d: %w", p, err)
	}
	return self, nil
}

func (s *Storage) createReplica(ctx context.Context, p txn.Partition) (session.Replica, error) {
	if p < 0 {
		return session.Replica{}, fmt.Errorf("partition %d is negative", p)
	}
	ctx, end, err := s.administer(ctx, p) // two calls for one partition make one replica
	if err != nil {
		return session.Replica{}, err
	}
	defer end()
	switch r := s.found(p); {
	case r == nil:
	case r.NextService == partition.Unassigned:
		done, err := s.reset(ctx, r, true)
		return done.Replica, err
	case r.NextService == partition.Removing:
		if err := s.finishRemoval(ctx, r); err != nil {
			return session.Replica{}, err
		}
	default:
		return r.Next.Self, s.awaitQueued(ctx, r)
	}
	return s.createEmpty(ctx, p)
}

// found returns a partition's replica, whatever it is; nil if there is none. What
// it is only changes by those who administer it.
func (s *Storage) found(p txn.Partition) *replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.replicas[p]
}

func (s *Storage) createEmpty(ctx context.Context, p txn.Partition) (session.Replica, error) {
	if err := s.folder.makePartition(p); err != nil {
		return session.Replica{}, s.mayFail(err)
	}
	log, err := s.openLog(p)
	if err != nil {
		return session.Replica{}, err
	}
	self := session.Replica{Incarnation: session.Incarnation(random()), Start: s.start}
	r := &replica{Replica: partition.New(p, self), log: log}
	s.mu.Lock()
	if err := s.usableLocked(); err != nil {
		s.mu.Unlock()
		return session.Replica{}, err
	}
	s.mu.replicas[p] = r // from now on, or a caller who gave up would let the next one make another
	wait := s.waitLocked(r, r.Encode())
	s.mu.Unlock()
	return self, wait(ctx)
}

// awaitQueued waits until all that is queued of a replica is durable.
func (s *Storage) awaitQueued(ctx context.Context, r *replica) error {
	s.mu.Lock()
	if err := s.usableLocked(); err != nil {
		s.mu.Unlock()
		return err
	}
	wait := s.waitLocked(r, journal.Entry{})
	s.mu.Unlock()
	return wait(ctx)
}

// Open promises a session: from when it returns, a lower one is refused for
// good (I3). Everything in the answer is durable.
func (s *Storage) Open(ctx context.Context, m session.Open) (session.Promise, error) {
	r, err := s.admit(ctx, m.Partition)
	if err != nil {
		return session.Promise{}, fmt.Errorf("open session %d of partition %d: %w", m.Session, m.Partition, err)
	}
	write, err := r.Next.CheckOpen(m)
	if err != nil {
		s.mu.Unlock()
		return session.Promise{}, err
	}
	e := journal.Entry{}
	if write {
		e = journal.Entry{Kind: journal.Promise, Partition: m.Partition, Session: m.Session}
	}
	if write && mutant.On("promise-not-synced") {
		r.Queue(&e)
		r.Apply(&e, partition.Chunk{})
		p := r.Next.Promise()
		s.mu.Unlock()
		return p, nil
	}
	wait := s.waitLocked(r, e)
	promise := r.Next.Promise() // all of it is in the queue before this entry's end
	s.mu.Unlock()
	return promise, wait(ctx)
}

// Truncate drops records above m.Last that are not in the chosen log; durable
// on return.
func (s *Storage) Truncate(ctx context.Context, m session.Truncate) error {
	r, err := s.admit(ctx, m.Partition)
	if err != nil {
		return fmt.Errorf("truncate partition %d: %w", m.Partition, err)
	}
	write, err := r.Next.CheckTruncate(m)
	return s.finishLocked(ctx, r, write, err, journal.Entry{Kind: journal.Truncate, Partition: m.Partition, Last: m.Last})
}

// Copy adds records of the chosen log that the replica is missing; durable on
// return. The frame may be used again when Copy returns.
func (s *Storage) Copy(ctx context.Context, m session.Copy) error {
	span, err := whole(m.Records)
	if err != nil {
		return fmt.Errorf("copy to partition %d: %w", m.Partition, err)
	}
	r, err := s.admit(ctx, m.Partition)
	if err != nil {
		return fmt.Errorf("copy to partition %d: %w", m.Partition, err)
	}
	write, err := r.Next.CheckCopy(&m, span)
	if err == nil && write {
		s.mu.queue.appends++
	}
	return s.finishLocked(ctx, r, write, err, journal.Entry{
		Kind: journal.Records, Partition: m.Partition, First: span.First, Last: span.Last, Session: span.LastStamp,
		Committed: r.Next.Committed, Body: m.Records,
	})
}

// Install makes the replica one of the session; durable on return.
func (s *Storage) Install(ctx context.Context, m session.Install) error {
	r, err := s.admit(ctx, m.Partition)
	if err != nil {
		return fmt.Errorf("install session %d of partition %d: %w", m.Session, m.Partition, err)
	}
	write, err := r.Next.CheckInstall(m)
	return s.finishLocked(ctx, r, write, err, journal.Entry{Kind: journal.Install, Partition: m.Partition, Session: m.Session})
}

// Confirm returns nil if the replica has installed the session and promised no
// higher one, not even one that is on its way to the disk. It waits for nothing.
func (s *Storage) Confirm(_ context.Context, m session.Confirm) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.err != nil {
		return s.mu.err
	}
	r, err := s.takesLocked(m.Partition)
	if err != nil {
		return fmt.Errorf("confirm session %d of partition %d: %w", m.Session, m.Partition, err)
	}
	return r.Next.CheckConfirm(m)
}

// finishLocked queues a message's entry, unlocks, and waits until it is durable.
// A repeat writes nothing, and is answered when what it repeats is durable.
func (s *Storage) finishLocked(ctx context.Context, r *replica, write bool, refused error, e journal.Entry) error {
	if refused != nil {
		s.mu.Unlock()
		return refused
	}
	if !write {
		e = journal.Entry{}
	}
	wait := s.waitLocked(r, e)
	s.mu.Unlock()
	return wait(ctx)
}

// waitLocked queues an entry and returns a function that waits until it is
// durable. If ctx ends before, whether it is is not known.
func (s *Storage) waitLocked(r *replica, e journal.Entry) func(context.Context) error {
	answer := make(chan error, 1)
	s.enqueueLocked(r, e, func(_ session.Appended, err error) { answer <- err })
	return func(ctx context.Context) error {
		select {
		case err := <-answer:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
