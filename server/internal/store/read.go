package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
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
	return s.readWithout(ctx, nil, first, last, bytesMax)
}

// At returns the first committed transaction with a timestamp of at least t, or
// the committed end + 1.
func (s *Session) At(ctx context.Context, t txn.Timestamp) (id txn.ID, err error) {
	s.mu.Lock()
	committed := s.mu.leader.Committed()
	s.mu.Unlock()
	// A replica that lacks committed records would take its own end for the log's.
	err = s.ask(ctx, nil, committed, func(ctx context.Context, r Replica) (n int, err error) {
		id, err = r.At(ctx, s.c.Partition, t)
		return 0, err
	})
	if err != nil {
		return txn.None, fmt.Errorf("find a time in partition %d: %w", s.c.Partition, err)
	}
	return min(id, committed+1), nil
}

// readWithout reads from any replica but one. All errors are returned if none can
// answer.
func (s *Session) readWithout(ctx context.Context, without *link, first, last txn.ID, bytesMax int) (f record.Frame, err error) {
	err = s.ask(ctx, without, first, func(ctx context.Context, r Replica) (n int, err error) {
		if f, err = r.Read(ctx, s.c.Partition, first, last, bytesMax); err == nil {
			err = s.ours(f)
		}
		return len(f), err
	})
	if err != nil {
		return nil, fmt.Errorf("read partition %d from %d to %d: %w", s.c.Partition, first, last, err)
	}
	return f, nil
}

// ours refuses records that are not the session's. A read is bound to no start of
// a storage, and one whose disk was put back may give a tail that was never
// committed before anybody noticed that it restarted (rule 3).
func (s *Session) ours(f record.Frame) error {
	end, ok := f.End()
	if !ok {
		return &record.CorruptError{Reason: "the frame is cut"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mu.leader.Agrees(end.ID, end.Stamp) {
		return fmt.Errorf("%w: transaction %d is of session %d there", session.ErrOtherLog, end.ID, end.Stamp)
	}
	return nil
}

// ask calls one replica after the other that holds the records up to id, until
// one can answer. Which comes first is said at route. Each gets Config.ReadMax to
// answer; if that was too short for one or more, all that are linked by then are
// asked again, with twice the time, until ctx or the session ends.
func (s *Session) ask(ctx context.Context, without *link, id txn.ID, call func(context.Context, Replica) (int, error)) error {
	for limit := s.c.ReadMax; ; limit *= 2 {
		late, err := s.askOnce(ctx, without, id, limit, call)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil: // the reason, whatever the last replica's was
			return errors.Join(ctx.Err(), err)
		case !late || s.Err() != nil:
			return err
		}
	}
}

// askOnce is one round of ask. It reports whether time was too short for somebody.
func (s *Session) askOnce(ctx context.Context, without *link, id txn.ID, limit time.Duration, call func(context.Context, Replica) (int, error)) (late bool, _ error) {
	var errs []error
	for _, l := range s.readers(without, id) {
		err := s.timed(ctx, l, limit, call)
		if err == nil {
			return false, nil
		}
		if ctx.Err() != nil {
			return false, err
		}
		late = late || errors.Is(err, ErrNoAnswer)
		errs = append(errs, l.wrap(err))
	}
	if len(errs) == 0 {
		return false, errNobodyToReadFrom
	}
	return late, errors.Join(errs...)
}

// timed makes one call that has a limit, and remembers how long it took.
func (s *Session) timed(ctx context.Context, l *link, limit time.Duration, call func(context.Context, Replica) (int, error)) error {
	within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w for %v", ErrNoAnswer, limit))
	defer cancel()
	s.mu.Lock()
	l.route.underWay++
	s.mu.Unlock()
	began := time.Now()
	n, err := call(within, l.replica)
	took := time.Since(began)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		err = context.Cause(within)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.route.underWay--
	if err == nil {
		l.route.answered(took, n)
	} else if !record.IsCorrupt(err) && !errors.Is(err, context.Canceled) { // damage is of some records only
		l.route.sickUntil = time.Now().Add(sickness)
	}
	return err
}

// readers returns the links that hold the records up to id, without one, the best
// first.
func (s *Session) readers(without *link, id txn.ID) []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	var few [8]*link
	readers := few[:0]
	for _, l := range s.mu.links {
		if l != without && l.took >= id {
			readers = append(readers, l)
		}
	}
	if len(readers) < 2 {
		return slices.Clone(readers)
	}
	now := time.Now()
	slices.SortStableFunc(readers, func(a, b *link) int {
		if a.rank(now) < b.rank(now) {
			return -1
		}
		return 1
	})
	if s.mu.reads++; s.mu.reads%probeEvery == 0 { // somebody else's turn
		i := int(s.mu.reads/probeEvery) % len(readers)
		readers[0], readers[i] = readers[i], readers[0]
	}
	return slices.Clone(readers)
}

// route is how quick a replica is to read from. The rule: a read goes to the
// replica with the lowest cost, a moving average of the times that it took to
// answer, each as if for a message of 64 KiB, times the reads that it has under
// way and one. Replicas that catch up come after those that are current, and those
// that failed to answer within the last second after all others. One read in 32
// goes to another one in turn, so that none is judged by its past for ever.
type route struct {
	cost      float64 // ns for 64 KiB
	underWay  int
	sickUntil time.Time
}

const (
	probeEvery = 32
	routeBytes = 64 << 10
	routeShare = 8 // weight of the past, in samples
	sickness   = time.Second
)

func (r *route) answered(took time.Duration, bytes int) {
	cost := float64(took) * routeBytes / float64(routeBytes/4+bytes)
	if r.cost == 0 {
		r.cost = cost
	}
	r.cost += (cost - r.cost) / routeShare
	r.sickUntil = time.Time{}
}

// rank orders links for a read, the lowest first.
func (l *link) rank(now time.Time) float64 {
	rank := l.route.cost * float64(l.route.underWay+1)
	if !l.current {
		rank += 1e12
	}
	if now.Before(l.route.sickUntil) {
		rank += 1e15
	}
	return rank
}
