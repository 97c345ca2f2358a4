package storage

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/journal"
)

// Append adds new records of an installed session. It returns when they are
// queued; done is called when they are durable, in the order of the calls, on
// the storage's goroutine: it must not block. After an error from Append done is
// not called. The frame may be used again when Append returns.
//
// Append waits, until ctx ends, while too much is queued ([Options]). Errors:
// [*session.RefusedError], [*DamagedError], [*record.CorruptError],
// [ErrWithoutData], [ErrFull], [ErrNoReplica], [ErrClosed], [ErrFailed]; done gets
// the last two.
func (s *Storage) Append(ctx context.Context, m session.Append, done func(session.Appended, error)) error {
	return s.append(m, done, func(p txn.Partition) (*replica, error) { return s.admit(ctx, p) })
}

// TryAppend is Append that does not wait while too much is queued: it returns
// [session.ErrBusy], and nothing has changed.
func (s *Storage) TryAppend(m session.Append, done func(session.Appended, error)) error {
	return s.append(m, done, s.tryAdmit)
}

func (s *Storage) append(m session.Append, done func(session.Appended, error), admit func(txn.Partition) (*replica, error)) error {
	span, err := whole(m.Records)
	if err != nil {
		return fmt.Errorf("append to partition %d: %w", m.Partition, err)
	}
	r, err := admit(m.Partition)
	if err != nil {
		return fmt.Errorf("append to partition %d: %w", m.Partition, err)
	}
	defer s.mu.Unlock()
	write, err := r.Next.CheckAppend(&m, span)
	if mutant.On("prev-check-dropped") {
		if why, _ := session.Refused(err); why == session.Mismatch {
			write, err = true, nil
		}
	}
	if err != nil {
		return err
	}
	if !write {
		s.enqueueLocked(r, journal.Entry{}, done)
		return nil
	}
	s.enqueueLocked(r, journal.Entry{
		Kind: journal.Records, Partition: m.Partition, First: span.First, Last: span.Last, Session: span.LastStamp,
		Committed: min(m.Committed, span.Last), Body: m.Records,
	}, done)
	s.mu.queue.appends++
	return nil
}

// whole checks a frame, and that each record is there as it was committed: one
// without its data would be another record under the same ID (I2).
func whole(f record.Frame) (record.Span, error) {
	span, err := f.Check()
	if err == nil && span.LeftOut > 0 && !mutant.On("storage-takes-frames-without-data") {
		err = fmt.Errorf("%d of the transactions %d to %d: %w", span.LeftOut, span.First, span.Last, ErrWithoutData)
	}
	return span, err
}

// admit waits for room in the queue and returns a partition's replica, which
// takes messages, with Storage.mu locked. After an error it is not locked.
func (s *Storage) admit(ctx context.Context, p txn.Partition) (*replica, error) {
	s.mu.Lock()
	for {
		r, room, err := s.admitLocked(p)
		if err != nil {
			s.mu.Unlock()
			return nil, err
		}
		if room == nil {
			return r, nil
		}
		s.mu.waiting++
		s.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		s.mu.Lock()
	}
}

// tryAdmit is admit that returns [session.ErrBusy] rather than wait.
func (s *Storage) tryAdmit(p txn.Partition) (*replica, error) {
	s.mu.Lock()
	r, room, err := s.admitLocked(p)
	if err == nil && room != nil {
		err = session.ErrBusy
	}
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	return r, nil
}

// admitLocked returns a partition's replica if it takes messages now, or what is
// closed when there may be room.
func (s *Storage) admitLocked(p txn.Partition) (r *replica, room <-chan struct{}, err error) {
	if err := s.usableLocked(); err != nil {
		return nil, nil, err
	}
	if s.mu.queue.bytes() >= s.o.QueueBytes || s.mu.backlog >= s.o.BacklogBytes {
		if err := s.mu.full.segments; err != nil && s.mu.backlog >= s.o.BacklogBytes {
			return nil, nil, &FullError{Err: err}
		}
		return nil, s.mu.room, nil
	}
	r, err = s.takesLocked(p)
	return r, nil, err
}
