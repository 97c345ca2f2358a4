package storage

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
)

func (s *Storage) wakeFlusher() {
	select {
	case s.flushWake <- struct{}{}:
	default:
	}
}

func (s *Storage) requestCheckpoint() {
	s.mu.Lock()
	s.mu.want.checkpoint = true
	s.mu.Unlock()
	s.wakeFlusher()
}

// flushLoop writes segments behind the journal, so that no answer waits for
// them. It is the only goroutine that writes them.
func (s *Storage) flushLoop() {
	defer s.dropTasks()
	for {
		select {
		case <-s.flushWake:
		case <-s.ctx.Done():
			return
		}
		for !s.flushOnce() {
			if !s.pause(s.ctx, s.o.RetryInterval) {
				return
			}
		}
	}
}

// flushOnce does what is wanted; false if the disk is full and it must be tried
// again.
func (s *Storage) flushOnce() bool {
	s.runTasks()
	s.mu.Lock()
	want := s.mu.want
	s.mu.want.checkpoint, s.mu.want.flush = false, false
	s.mu.Unlock()
	var err error
	switch {
	case want.checkpoint:
		err = s.checkpoint()
	case want.flush:
		err = s.flushAll()
	}
	full := err != nil && journal.IsFull(err)
	if err != nil && !full {
		s.fail(err)
		return true
	}
	s.noteSegmentsFull(err, want.checkpoint)
	if full {
		s.hurry()
	}
	return !full
}

// noteSegmentsFull remembers whether segments can be written, and what is still
// wanted if not.
func (s *Storage) noteSegmentsFull(full error, checkpoint bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if full != nil {
		s.mu.want.checkpoint = s.mu.want.checkpoint || checkpoint
		s.mu.want.flush = true
	}
	switch was := s.mu.full.segments != nil; {
	case full != nil && !was:
		s.o.Logger.Warn("the disk is full: segments can't be written, and appends are refused when as much as BacklogBytes waits; make room", "error", full)
	case full == nil && was:
		s.o.Logger.Info("there is room again: segments are written")
	}
	s.mu.full.segments = full
	s.shrunkLocked()
}

// checkpoint makes the segments durable and frees journal files.
//
// The order, and a crash in between: everything that the files before the
// current one hold goes into segments; they are synced; a Flushed entry for each
// replica goes into the queue, which only spares the next start some work; the
// files are freed. A crash before the sync replays them; after it they are not
// needed, freed or not.
func (s *Storage) checkpoint() error {
	current := s.journal.Current()
	for _, r := range s.replicas() {
		if err := s.Err(); err != nil {
			return err
		}
		if err := s.checkpointReplica(r, current); err != nil {
			return err
		}
	}
	s.journal.Free(current)
	s.mu.Lock()
	s.mu.stats.checkpoints++
	s.mu.Unlock()
	return nil
}

// checkpointReplica makes durable in segments what journal files before one hold
// of a replica, or removes one that is to be removed.
func (s *Storage) checkpointReplica(r *replica, current uint64) error {
	s.mu.Lock()
	removing := r.Service == partition.Removing
	s.mu.Unlock()
	if removing {
		return s.deleteFiles(r)
	}
	if err := s.flushReplica(r, current); err != nil {
		return err
	}
	if err := r.log.Sync(); err != nil {
		return err
	}
	s.synced(r)
	return nil
}

func (s *Storage) flushAll() error {
	for _, r := range s.replicas() {
		if err := s.flushReplica(r, 0); err != nil {
			return err
		}
	}
	return nil
}

// replicas returns all replicas, in the order of their partitions.
func (s *Storage) replicas(only ...txn.Partition) []*replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*replica, 0, len(s.mu.replicas))
	for _, p := range slices.Sorted(maps.Keys(s.mu.replicas)) {
		if len(only) == 0 || slices.Contains(only, p) {
			all = append(all, s.mu.replicas[p])
		}
	}
	return all
}

// flushReplica writes to segments what is durable and not there yet. With a
// journal file it goes on until nothing is needed of the files before it, even
// if the replica is truncated meanwhile.
func (s *Storage) flushReplica(r *replica, before uint64) error {
	for !r.deleted {
		if err := s.flushTail(r); err != nil {
			return fmt.Errorf("flush partition %d: %w", r.Now.Partition, err)
		}
		s.mu.Lock()
		again := len(r.Tail) > 0 && r.Tail[0].At.File < before || r.log.End() > r.InSegments && r.Closed == nil
		s.mu.Unlock()
		if !again {
			return nil
		}
	}
	return nil
}

// flushTail writes the tail as it is now. If the replica is truncated meanwhile
// what was written does not count, and is cut the next time.
func (s *Storage) flushTail(r *replica) error {
	s.mu.Lock()
	end, cuts, tail := r.InSegments, r.Cuts, slices.Clone(r.Tail)
	s.mu.Unlock()
	if err := r.log.Rebuild(); err != nil {
		return err
	}
	if !r.log.Positioned() && len(tail) > 0 || r.log.End() != end && (len(tail) > 0 || r.log.End() > end) {
		if err := r.log.Cut(end); err != nil && !damage.Is(err) {
			return err
		}
	}
	done, err := s.writeTail(r, tail)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Cuts != cuts {
		return err
	}
	s.mu.backlog -= r.Flushed(done)
	s.shrunkLocked()
	return err
}

// writeTail writes chunks and returns how far it came. What the journal turns
// out not to have any more is noted as damage and passed over.
func (s *Storage) writeTail(r *replica, tail []partition.Chunk) (done txn.ID, err error) {
	passed := txn.None
	for _, c := range tail {
		f, err := s.frame(r.Now.Partition, c)
		if damage.Is(err) {
			s.noteDamage(r, err, nil)
			passed = c.Last
			continue
		}
		if err == nil {
			err = r.log.Append(partition.Cut(f, c.First, c.Last))
		}
		if err != nil {
			return r.log.End(), err
		}
	}
	if err := r.log.Flush(); err != nil {
		return r.log.End(), err
	}
	return max(passed, r.log.End()), nil
}

// synced notes that a replica's segments are durable, unless a truncation is on
// its way: the Flushed entry would come behind it in the journal and speak of
// records that it drops.
func (s *Storage) synced(r *replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.InSegments <= r.Synced || r.InSegments != r.log.End() || r.Cuts != r.NextCuts {
		return
	}
	if s.usableLocked() != nil {
		if s.mu.closed {
			r.Synced = r.InSegments // the last journal file's opening state says so
		}
		return
	}
	s.enqueueLocked(r, journal.Entry{Kind: journal.Flushed, Partition: r.Now.Partition, Last: r.InSegments}, nil)
}

// frame returns a chunk's records, from memory or from the journal.
func (s *Storage) frame(p txn.Partition, c partition.Chunk) (record.Frame, error) {
	if c.Frame != nil {
		return c.Frame, nil
	}
	b, err := journal.ReadBody(s.o.FS, s.folder.journal(), c.At, c.Len)
	if err != nil {
		return nil, err
	}
	span, err := record.Frame(b).Check()
	if err == nil && (span.First != c.First || span.Partition != p) {
		err = fmt.Errorf("it holds transaction %d of partition %d", span.First, span.Partition)
	}
	if err != nil {
		return nil, &DamagedError{
			Partition: p, First: c.First, Last: c.Last, Offset: c.At.Offset,
			File: path.Join(s.folder.journal(), journal.FileName(c.At.File)), Reason: err.Error(),
		}
	}
	return b, nil
}
