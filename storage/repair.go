package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
	"github.com/waltz-log/waltz/storage/internal/segment"
)

// Source reads records of a partition from another replica: at least the first
// one, and as many more up to last as it likes, each with its data. What Read
// returns is right. It is called by one goroutine at a time, with first growing
// from call to call, unless the log was truncated meanwhile, and must return when
// ctx ends. It is not trusted: every record is verified. It may have the frame
// back when it is called again.
type Source func(ctx context.Context, first, last txn.ID) (record.Frame, error)

// Repair says what to repair.
type Repair struct {
	Partition txn.Partition
	// First and Last are the records to look at. Last 0, or below First: all that is
	// known to be damaged.
	First, Last txn.ID
	// Committed is what the caller knows to be committed, say from the partition's
	// server; the replica may not have heard of it. Nothing above it and above what
	// the replica itself knows to be committed is repaired. Zero or less: what the
	// replica knows.
	Committed txn.ID
}

// Repaired says what Repair did.
type Repaired struct {
	Partition txn.Partition
	Records   int64           // taken from the source
	Bytes     int64           // of them
	Segments  int             // files replaced
	Left      []*DamagedError // damage that is still there
}

// Repair reads the segments that hold damaged records, and replaces what can't be
// read by another replica's records; durable on return. What it replaces is the
// same as what was written: each record is whole, and has the ID and the stamp
// that the replica's own session map says, and that names one record for ever.
// What the source has besides is refused ([ErrOtherRecords]), as is what is not
// known to be committed ([ErrNotCommitted]; the rest is repaired all the same).
// Damage to records that can be read after all is forgotten. A nil source looks
// for that only.
//
// A replica whose journal is damaged can't be repaired ([ErrNeedsReset]).
//
// Crash: segments are written anew beside the old ones, synced, and renamed over
// them, one by one; then the journal is told that the damage is gone. In between
// there is either file, and the worst is damage that is still refused though it
// is not there any more. Appends and reads go on meanwhile. Errors: those,
// [ErrNoReplica], [ErrFull], [ErrClosed], [ErrFailed], and the source's.
func (s *Storage) Repair(ctx context.Context, m Repair, from Source) (Repaired, error) {
	j := &repair{s: s, m: m, from: from, done: Repaired{Partition: m.Partition}}
	err := j.run(ctx)
	if err != nil {
		err = fmt.Errorf("repair replica of partition %d: %w", m.Partition, err)
	}
	return j.done, err
}

// repair is one call of Repair.
type repair struct {
	s    *Storage
	m    Repair
	from Source
	r    *replica
	done Repaired

	// As of the piece that is being written.
	end       txn.ID // of what is in segments
	cuts      uint64
	committed txn.ID
	stamps    session.Map
}

func (j *repair) run(ctx context.Context) error {
	ctx, end, err := j.s.administer(ctx, j.m.Partition)
	if err != nil {
		return err
	}
	defer end()
	ranges, err := j.ranges()
	if err != nil {
		return err
	}
	for _, d := range ranges {
		if err = errors.Join(err, j.mend(ctx, d.First, d.Last)); err != nil && !errors.Is(err, ErrNotCommitted) {
			break
		}
	}
	j.s.mu.Lock()
	j.done.Left = slices.Clone(j.r.Damage)
	j.s.mu.Unlock()
	j.tell(err)
	return err
}

func (j *repair) tell(err error) {
	done := []any{"partition", int(j.m.Partition), "records", j.done.Records, "segments", j.done.Segments, "damage_left", len(j.done.Left)}
	if err != nil {
		j.s.o.Logger.Warn("replica was not repaired", append(done, "error", err)...)
		return
	}
	j.s.o.Logger.Info("replica repaired", done...)
}

// ranges returns what to look at, in order.
func (j *repair) ranges() ([]DamagedError, error) {
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	var err error
	if j.r, err = j.s.assignedLocked(j.m.Partition, 0); err != nil {
		return nil, err
	}
	if j.r.Closed != nil {
		return nil, fmt.Errorf("%w: %w", ErrNeedsReset, j.r.Closed)
	}
	if j.m.Last > 0 && j.m.First <= j.m.Last {
		return []DamagedError{{First: max(j.m.First, 0), Last: j.m.Last}}, nil
	}
	var all []DamagedError
	for _, d := range j.r.Damage {
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b DamagedError) int { return cmp.Compare(a.First, b.First) })
	return all, nil
}

// mend mends the segments with records first to last, one after the other.
func (j *repair) mend(ctx context.Context, first, last txn.ID) (all error) {
	for first <= last {
		next, err := j.piece(ctx, first)
		switch {
		case segment.Moved(err):
			continue // the log was truncated under our eyes
		case errors.Is(err, ErrNotCommitted):
			all = errors.Join(all, err)
		case err != nil:
			return errors.Join(all, err)
		}
		if next <= first {
			break // the rest is in no segment
		}
		first = next
	}
	return all
}

// piece mends the segment that holds a record, and returns the record behind it.
func (j *repair) piece(ctx context.Context, id txn.ID) (next txn.ID, err error) {
	s, r := j.s, j.r
	if err := j.prepare(ctx, id); err != nil {
		return 0, s.diskError(ctx, err)
	}
	if id > j.end {
		return id, nil
	}
	asked := error(nil)
	w, err := r.log.Rewrite(ctx, id, j.end, segment.Mend{
		Right: func(rec *record.Record) bool { return rec.Stamp == j.stamps.StampAt(rec.ID) },
		Fetch: func(ctx context.Context, first, last txn.ID) (f record.Frame, err error) {
			f, asked = j.fetch(ctx, first, last)
			return f, asked
		},
	})
	if asked != nil {
		return j.behind(id), asked
	}
	if err != nil {
		return 0, s.diskError(ctx, err)
	}
	if err := j.adopt(ctx, w); err != nil {
		return 0, errors.Join(s.diskError(ctx, err), r.log.Discard(w))
	}
	return w.Last + 1, j.clear(ctx, w)
}

// behind returns the record behind the segment that should hold one.
func (j *repair) behind(id txn.ID) txn.ID {
	for _, e := range j.r.log.Extents() {
		if e.Last >= id && e.First <= id {
			return e.Last + 1
		}
		if e.First > id {
			return e.First
		}
	}
	return j.end + 1
}

// prepare brings everything into segments of which the one with the record is not
// being written, and looks at where the replica is.
func (j *repair) prepare(ctx context.Context, id txn.ID) error {
	return j.s.onFlusher(ctx, func() error {
		if err := j.s.flushReplica(j.r, 0); err != nil {
			return err
		}
		if err := j.r.log.Seal(id); err != nil {
			return err
		}
		j.s.mu.Lock()
		defer j.s.mu.Unlock()
		now := &j.r.Now
		j.end, j.cuts, j.stamps = j.r.InSegments, j.r.Cuts, now.Map.Clone()
		j.committed = max(now.Committed, min(j.m.Committed, now.Last))
		return nil
	})
}

// fetch takes records from the source and verifies them.
func (j *repair) fetch(ctx context.Context, first, last txn.ID) (record.Frame, error) {
	if first > j.committed && !mutant.On("repair-above-committed") {
		return nil, fmt.Errorf("transaction %d, committed up to %d: %w", first, j.committed, ErrNotCommitted)
	}
	last = min(last, max(first, j.committed))
	if j.from == nil {
		return nil, fmt.Errorf("transactions %d to %d can't be read, and there is no source for them", first, last)
	}
	f, err := j.from(ctx, first, last)
	if err != nil {
		return nil, fmt.Errorf("read transaction %d from the source: %w", first, err)
	}
	span, err := whole(f)
	if err == nil && (span.Partition != j.m.Partition || span.First != first) {
		err = fmt.Errorf("transaction %d of partition %d: %w", span.First, span.Partition, ErrOtherRecords)
	}
	if err != nil {
		return nil, fmt.Errorf("source's transaction %d: %w", first, err)
	}
	f = partition.Cut(f, first, last)
	for rec := range f.Trusted() {
		if want := j.stamps.StampAt(rec.ID); rec.Stamp != want && !mutant.On("repair-unverified") {
			return nil, fmt.Errorf("transaction %d has stamp %d, not %d: %w", rec.ID, rec.Stamp, want, ErrOtherRecords)
		}
	}
	return f, nil
}

// adopt puts what was written in the place of what was there, unless the replica
// was truncated meanwhile.
func (j *repair) adopt(ctx context.Context, w *segment.Rewrite) error {
	if w.Records == 0 {
		return j.r.log.Discard(w)
	}
	err := j.s.onFlusher(ctx, func() error {
		if j.touch() != j.cuts {
			return segment.ErrMoved
		}
		err := j.r.log.Adopt(w)
		j.touch()
		return err
	})
	if err == nil {
		j.done.Records, j.done.Bytes, j.done.Segments = j.done.Records+w.Records, j.done.Bytes+w.Bytes, j.done.Segments+w.Files()
	}
	return err
}

// touch makes readers that find damage read again, since they may have read the
// old file. It returns how often the replica was truncated.
func (j *repair) touch() uint64 {
	j.s.mu.Lock()
	defer j.s.mu.Unlock()
	j.r.Moves++
	j.r.rewrites++
	return j.r.Cuts
}

// clear forgets damage to what was written anew, in the journal too.
func (j *repair) clear(ctx context.Context, w *segment.Rewrite) error {
	j.s.mu.Lock()
	marked := slices.ContainsFunc(j.r.Damage, func(d *DamagedError) bool { return d.First <= w.Last && d.Last >= w.First })
	if !marked || j.r.NextCuts != j.cuts {
		j.s.mu.Unlock()
		if marked {
			return segment.ErrMoved
		}
		return nil
	}
	wait, err := j.s.writeEntryLocked(j.r, journal.Entry{Kind: journal.Repaired, Partition: j.m.Partition, First: w.First, Last: w.Last})
	j.s.mu.Unlock()
	if err != nil {
		return err
	}
	return wait(ctx)
}
