package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
	"github.com/waltz-log/waltz/storage/internal/segment"
)

// administer begins what changes a replica as a whole: creating, repairing,
// resetting, removing. There is one such call at a time for a partition; the
// others wait. The context that it returns ends with the storage, too. end must be
// called, and Close waits for it.
func (s *Storage) administer(ctx context.Context, p txn.Partition) (_ context.Context, end func(), err error) {
	for {
		s.mu.Lock()
		if err := s.goneLocked(); err != nil {
			s.mu.Unlock()
			return nil, nil, err
		}
		other := s.mu.busy[p]
		if other == nil {
			break
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
	defer s.mu.Unlock()
	free := make(chan struct{})
	s.mu.busy[p] = free
	s.administering.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		s.mu.Lock()
		delete(s.mu.busy, p)
		s.mu.Unlock()
		close(free)
		s.administering.Done()
	}, nil
}

// goneLocked returns why the storage is of no use any more.
func (s *Storage) goneLocked() error {
	switch {
	case s.mu.err != nil:
		return s.mu.err
	case s.mu.closed:
		return ErrClosed
	}
	return nil
}

// task is something to do on the goroutine that writes segments.
type task struct {
	run  func() error
	done chan error
}

// onFlusher runs a function on the goroutine that writes segments, and waits for
// it. If ctx ends before it has begun it is not run. It must not wait for the
// journal, which may be waiting for segments.
func (s *Storage) onFlusher(ctx context.Context, run func() error) error {
	t := &task{run: run, done: make(chan error, 1)}
	s.mu.Lock()
	if err := s.goneLocked(); err != nil {
		s.mu.Unlock()
		return err
	}
	s.mu.tasks = append(s.mu.tasks, t) // at most one for each partition
	s.mu.Unlock()
	s.wakeFlusher()
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(s.mu.tasks, t)
	if i >= 0 {
		s.mu.tasks = slices.Delete(s.mu.tasks, i, i+1)
	}
	s.mu.Unlock()
	if i >= 0 {
		return context.Cause(ctx)
	}
	return <-t.done
}

// runTasks runs what waits for the flusher.
func (s *Storage) runTasks() {
	for {
		s.mu.Lock()
		if len(s.mu.tasks) == 0 || s.mu.err != nil {
			s.mu.Unlock()
			return
		}
		t := s.mu.tasks[0]
		s.mu.tasks = slices.Delete(s.mu.tasks, 0, 1)
		s.mu.Unlock()
		t.done <- t.run()
	}
}

// dropTasks answers those that will not be run, since the flusher has ended.
func (s *Storage) dropTasks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.mu.tasks {
		t.done <- errors.Join(s.goneLocked())
	}
	s.mu.tasks = nil
}

// diskError is the answer to a call that failed at the disk: a full one's is
// passed on, as are those that say nothing about the disk; any other ends the
// storage.
func (s *Storage) diskError(ctx context.Context, err error) error {
	switch {
	case err == nil, ctx.Err() != nil, segment.Moved(err), errors.Is(err, ErrClosed), errors.Is(err, ErrFailed):
		return err
	}
	return s.mayFail(err)
}

// heldLocked returns a partition's replica for an operator: also one that is out
// of service or unassigned.
func (s *Storage) heldLocked(p txn.Partition, means session.Incarnation) (*replica, error) {
	r := s.mu.replicas[p]
	if r == nil || r.NextService == partition.Removing {
		return nil, fmt.Errorf("partition %d: %w", p, ErrNoReplica)
	}
	if mine := r.Next.Self.Incarnation; means != 0 && means != mine {
		return nil, fmt.Errorf("partition %d: it is %x, not %x: %w", p, mine, means, ErrOtherIncarnation)
	}
	return r, nil
}

// assignedLocked is heldLocked for replicas that are not unassigned.
func (s *Storage) assignedLocked(p txn.Partition, means session.Incarnation) (*replica, error) {
	r, err := s.heldLocked(p, means)
	if err == nil && r.NextService == partition.Unassigned {
		return nil, fmt.Errorf("partition %d: %w", p, ErrNoReplica)
	}
	return r, err
}

// takesLocked returns a partition's replica if it takes messages.
func (s *Storage) takesLocked(p txn.Partition) (*replica, error) {
	r, err := s.servesLocked(p)
	if err == nil && r.Closed != nil {
		return nil, r.Closed
	}
	return r, err
}

// servesLocked returns a partition's replica if it may be read.
func (s *Storage) servesLocked(p txn.Partition) (*replica, error) {
	r, err := s.replicaLocked(p)
	if err == nil && r.NextService == partition.OutOfService {
		return nil, fmt.Errorf("partition %d: %w", p, ErrOutOfService)
	}
	return r, err
}

// writeEntry queues an entry for a replica, if the storage can write, and returns
// a function that waits until it is durable.
func (s *Storage) writeEntryLocked(r *replica, e journal.Entry) (func(context.Context) error, error) {
	if err := s.usableLocked(); err != nil {
		return nil, err
	}
	return s.waitLocked(r, e), nil
}

// SetAvailable takes a replica out of service, or back into it; durable on return.
// One that is out of service takes no messages and serves no reads, so that its
// partition's servers count it as down. It keeps its promises and its log: back
// in service it is caught up like one that was restarted. It can be described,
// checked, repaired and reset meanwhile. Errors: [ErrNoReplica], [ErrFull],
// [ErrClosed], [ErrFailed].
func (s *Storage) SetAvailable(ctx context.Context, p txn.Partition, available bool) error {
	if err := s.setAvailable(ctx, p, available); err != nil {
		return fmt.Errorf("set availability of the replica of partition %d: %w", p, err)
	}
	return nil
}

func (s *Storage) setAvailable(ctx context.Context, p txn.Partition, available bool) error {
	ctx, end, err := s.administer(ctx, p)
	if err != nil {
		return err
	}
	defer end()
	want := partition.OutOfService
	if available {
		want = partition.InService
	}
	s.mu.Lock()
	r, err := s.assignedLocked(p, 0)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	e := journal.Entry{Kind: journal.Service, Partition: p, Session: txn.SessionID(want)}
	if r.NextService == want {
		e = journal.Entry{}
	}
	wait, err := s.writeEntryLocked(r, e)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	s.o.Logger.Info("availability set", "partition", int(p), "available", available)
	return wait(ctx)
}
