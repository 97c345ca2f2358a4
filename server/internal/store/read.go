package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Read returns committed records from first on: at least one, at most to last,
// and as many as fit into bytesMax. Their checksums were verified. If one
// storage can't give them, another is asked.
func (s *Session) Read(ctx context.Context, first, last txn.ID, bytesMax int) (record.Frame, error) {
	s.mu.Lock()
	committed := s.mu.leader.Committed()
	s.mu.Unlock()
	last = min(last, committed)
	if first < 0 || first > last {
		return nil, fmt.Errorf("read partition %d from %d to %d: committed are 0 to %d", s.c.Partition, first, last, committed)
	}
	return s.readFrom(ctx, s.readers(nil), first, last, bytesMax)
}

// At returns the first committed transaction with a timestamp of at least t, or
// the committed end + 1.
func (s *Session) At(ctx context.Context, t txn.Timestamp) (txn.ID, error) {
	err := errNobodyToReadFrom
	for _, l := range s.readers(nil) {
		var id txn.ID
		if id, err = l.replica.At(ctx, s.c.Partition, t); err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			return min(id, s.mu.leader.Committed()+1), nil
		}
	}
	return txn.None, fmt.Errorf("find a time in partition %d: %w", s.c.Partition, err)
}

// readers returns the links to read from, the best first, without one.
func (s *Session) readers(without *link) []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if without == nil && len(s.mu.current) == len(s.mu.links) {
		return s.mu.current
	}
	var readers []*link
	for _, l := range s.mu.current {
		if l != without {
			readers = append(readers, l)
		}
	}
	for _, l := range s.mu.links {
		if l != without && !l.current {
			readers = append(readers, l)
		}
	}
	return readers
}

// readFrom asks one storage after the other. All errors are returned if none
// can answer.
func (s *Session) readFrom(ctx context.Context, links []*link, first, last txn.ID, bytesMax int) (record.Frame, error) {
	errs := []error{}
	for _, l := range links {
		f, err := l.replica.Read(ctx, s.c.Partition, first, last, bytesMax)
		if err == nil {
			return f, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, fmt.Errorf("storage %s: %w", l.storage, err))
	}
	if len(errs) == 0 {
		errs = append(errs, errNobodyToReadFrom)
	}
	return nil, fmt.Errorf("read partition %d from %d to %d: %w", s.c.Partition, first, last, errors.Join(errs...))
}
