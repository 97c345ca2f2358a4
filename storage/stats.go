package storage

import (
	"slices"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
)

// Stats is a snapshot of what a storage did since it was opened, and of what it
// holds.
type Stats struct {
	Journal      journal.Stats
	Appends      uint64 // frames that were committed, copies included
	Checkpoints  uint64
	QueueBytes   int // waits for the journal
	BacklogBytes int // memory that waits for the segments
	Replicas     int
	Damaged      int  // replicas with damage
	Full         bool // the disk is full

	Scrub         ScrubState // of the background scrub
	ScrubbedBytes int64      // by it
	ScrubPasses   int64      // whole ones
	ScrubDamage   int64      // ranges that it found
}

// counters are the parts of Stats that are counted.
type counters struct {
	appends, checkpoints uint64
}

func (c *counters) committed(b *batch) { c.appends += uint64(b.appends) }

// Stats returns a snapshot.
func (s *Storage) Stats() Stats {
	st := Stats{
		Journal: s.journal.Stats(), Scrub: s.ScrubState(),
		ScrubbedBytes: s.scrub.bytes.Load(), ScrubPasses: s.scrub.passes.Load(), ScrubDamage: s.scrub.damaged.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Appends, st.Checkpoints = s.mu.stats.appends, s.mu.stats.checkpoints
	st.QueueBytes, st.BacklogBytes = s.mu.queue.bytes(), s.mu.backlog
	st.Full = s.diskFullLocked()
	for _, r := range s.mu.replicas {
		if r.NextService >= partition.Unassigned {
			continue
		}
		st.Replicas++
		if r.Closed != nil || len(r.Damage) > 0 {
			st.Damaged++
		}
	}
	return st
}

// diskFull reports whether anything waits for room, be it only the segments, so that
// appends go on for a while.
func (s *Storage) diskFull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.diskFullLocked()
}

func (s *Storage) diskFullLocked() bool { return s.mu.full.journal != nil || s.mu.full.segments != nil }

// Info describes a replica.
type Info struct {
	Partition txn.Partition
	Promise   session.Promise // its state; durable
	Segments  int             // segment files
	Damage    []*DamagedError // ranges that can't be read
	Closed    *DamagedError   // why it takes no messages any more; nil: it does
}

// Replicas describes all replicas but those that were removed, in the order of
// their partitions.
func (s *Storage) Replicas() []Info {
	var all []Info
	for _, r := range s.replicas() {
		s.mu.Lock()
		if r.NextService >= partition.Unassigned {
			s.mu.Unlock()
			continue
		}
		all = append(all, s.infoLocked(r))
		s.mu.Unlock()
	}
	return all
}

// Damage returns all damage that is known, also that which lost nothing (an
// index, a copy that was not needed): for those Last is below First.
func (s *Storage) Damage() []*DamagedError {
	var all []*DamagedError
	for _, info := range s.Replicas() {
		all = append(all, info.Damage...)
		if info.Closed != nil && !slices.Contains(info.Damage, info.Closed) {
			all = append(all, info.Closed)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(all, s.mu.odd...)
}
