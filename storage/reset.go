package storage

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
)

// Reset says which replica to begin anew.
type Reset struct {
	Partition txn.Partition
	// Incarnation is the one that the caller means, so that a repeated call does not
	// reset twice. Zero: whichever it is.
	Incarnation session.Incarnation
	// Keep keeps the verified start of the log, so that less has to be copied from
	// other replicas.
	Keep bool
}

// ResetDone says what Reset did.
type ResetDone struct {
	Replica session.Replica // its new identity
	Last    txn.ID          // last record kept
}

// Reset gives a replica a new incarnation, durable on return: from then on it
// counts as absent, like one on a new disk, until a session has filled it and
// recorded it. It is for a replica that may have forgotten what it promised or
// acknowledged: its journal was damaged, or its disk restored from a copy. Of a
// partition whose other replicas are not a majority, reset none: what it holds may
// be all that is left.
//
// What may be kept. Nothing that the replica says counts before a session has
// compared its session map with the chosen log, cut what differs, copied the rest
// and installed it. So any log may be kept of which the map is true: records that
// stood one behind the other in some session's log. (ID, stamp) names one record,
// so a start of the log is such a one if every record is whole and has the stamp
// that the map says, the map being that of a log which this replica once had. It
// was that up to the first record that damage has touched, in segments or in the
// journal; so what is kept ends below it, and of a replica whose state was lost
// nothing is. It has installed nothing and knows nothing as committed, so that
// all of it may be cut. The promise stays, if it is known: an older session is
// refused all the same (I3).
//
// This relies on session numbers being given once. Where the metadata was set
// back, too, they were not: keep nothing then.
//
// A crash leaves the replica as it was or as it is afterwards. If ctx ends first,
// which of them is not known. Errors: [ErrNoReplica], [ErrOtherIncarnation],
// [ErrFull], [ErrClosed], [ErrFailed].
func (s *Storage) Reset(ctx context.Context, m Reset) (ResetDone, error) {
	done, err := s.resetReplica(ctx, m)
	if err != nil {
		return ResetDone{}, fmt.Errorf("reset replica of partition %d: %w", m.Partition, err)
	}
	return done, nil
}

func (s *Storage) resetReplica(ctx context.Context, m Reset) (ResetDone, error) {
	ctx, end, err := s.administer(ctx, m.Partition)
	if err != nil {
		return ResetDone{}, err
	}
	defer end()
	s.mu.Lock()
	r, err := s.assignedLocked(m.Partition, m.Incarnation)
	s.mu.Unlock()
	if err != nil {
		return ResetDone{}, err
	}
	return s.reset(ctx, r, m.Keep)
}

// reset is Reset of one that is administered.
func (s *Storage) reset(ctx context.Context, r *replica, keep bool) (ResetDone, error) {
	for {
		k := kept{last: txn.None}
		if keep {
			var err error
			if k, err = s.keep(ctx, r); err != nil {
				return ResetDone{}, err
			}
		}
		s.mu.Lock()
		if keep && r.NextCuts != k.cuts { // it was truncated meanwhile: what is kept may not be there
			s.mu.Unlock()
			continue
		}
		e := journal.Entry{Kind: journal.Reset, Partition: r.Now.Partition, Session: txn.SessionID(random()), Last: k.last}
		if mutant.On("reset-keeps-incarnation") {
			e.Session = txn.SessionID(r.Next.Self.Incarnation)
		}
		wait, err := s.writeEntryLocked(r, e)
		done := ResetDone{Replica: r.Next.Self, Last: k.last}
		s.mu.Unlock()
		if err != nil {
			return ResetDone{}, err
		}
		if err := wait(ctx); err != nil {
			return ResetDone{}, err
		}
		s.o.Logger.Info("replica reset", "partition", int(e.Partition), "incarnation", fmt.Sprintf("%x", done.Replica.Incarnation), "kept", int64(done.Last))
		return done, s.cutNow(ctx, r)
	}
}

// cutNow removes from segments what a reset has dropped. Who comes first after a
// crash, or if this is given up, does it too: flushTail.
func (s *Storage) cutNow(ctx context.Context, r *replica) error {
	return s.diskError(ctx, s.onFlusher(ctx, func() error {
		s.mu.Lock()
		end := r.InSegments
		s.mu.Unlock()
		if err := r.log.Cut(end); err != nil && !damage.Is(err) {
			return err
		}
		return r.log.Sync()
	}))
}

// kept is the start of a log that a reset keeps, and how often the replica had
// been truncated when it was found.
type kept struct {
	last txn.ID
	cuts uint64
}

// keep finds what may be kept, and makes it durable in segments.
func (s *Storage) keep(ctx context.Context, r *replica) (kept, error) {
	err := s.onFlusher(ctx, func() error {
		if err := s.flushReplica(r, 0); err != nil {
			return err
		}
		return r.log.Sync()
	})
	if err != nil {
		return kept{}, s.diskError(ctx, err)
	}
	s.mu.Lock()
	last, cuts, stamps := s.undamagedLocked(r), r.Cuts, r.Now.Map.Clone()
	s.mu.Unlock()
	last, err = r.log.Prefix(ctx, last, func(rec *record.Record) bool { return rec.Stamp == stamps.StampAt(rec.ID) })
	return kept{last: last, cuts: cuts}, err
}

// undamagedLocked returns the last record in segments below all that damage, in
// segments or in the journal, may have touched.
func (s *Storage) undamagedLocked(r *replica) txn.ID {
	last := r.InSegments
	for _, d := range r.Damage {
		last = min(last, d.First-1)
	}
	if r.Closed != nil {
		last = min(last, r.Closed.First-1)
	}
	return max(last, txn.None)
}
