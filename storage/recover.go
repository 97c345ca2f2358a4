package storage

import (
	"fmt"
	"maps"
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
	"github.com/waltz-log/waltz/storage/internal/segment"
)

// recover replays the journal and finds the segments that belong to it. Nothing
// else runs yet.
func (s *Storage) recover() (journal.Found, error) {
	v := partition.NewRecovery(s.folder.journal(), s.start)
	found, err := journal.Replay(s.o.FS, s.folder.journal(), s.o.ClusterKey, v)
	if err != nil {
		return found, err
	}
	logs, err := s.openLogs()
	if err != nil {
		return found, err
	}
	onDisk := map[txn.Partition]bool{}
	for p, log := range logs {
		onDisk[p] = len(log.Extents()) > 0
	}
	v.End(onDisk)
	for _, d := range slices.Concat(v.Oddities, v.Gaps) {
		s.noteOdd(d)
	}
	for _, p := range slices.Sorted(maps.Keys(v.Replicas)) {
		if err := s.adopt(p, v.Replicas[p], logs[p]); err != nil {
			return found, fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return found, nil
}

// openLogs lists the segments of every partition with a folder.
func (s *Storage) openLogs() (map[txn.Partition]*segment.Log, error) {
	all, err := s.folder.partitions()
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	logs := map[txn.Partition]*segment.Log{}
	for _, p := range all {
		if logs[p], err = s.openLog(p); err != nil {
			return nil, err
		}
	}
	return logs, nil
}

func (s *Storage) openLog(p txn.Partition) (*segment.Log, error) {
	return segment.Open(segment.Config{
		FS: s.o.FS, Dir: s.folder.partition(p), Cluster: s.o.ClusterKey, Partition: p,
		Bytes: s.o.SegmentBytes, Files: s.files,
		Odd: func(file, why string) {
			s.noteOdd(&DamagedError{Partition: p, First: 0, Last: txn.None, File: file, Reason: why})
		},
	})
}

// adopt joins a replica with its segments: they are right up to InSegments, and
// whatever is behind it is written again from the journal. Those of a replica
// whose state was lost are not touched.
func (s *Storage) adopt(p txn.Partition, state *partition.Replica, log *segment.Log) (err error) {
	if log == nil {
		if err := s.folder.makePartition(p); err != nil {
			return err
		}
		if log, err = s.openLog(p); err != nil {
			return err
		}
	}
	r := &replica{Replica: state, log: log}
	s.mu.replicas[p] = r
	if state.Closed != nil {
		s.reportDamage(state.Closed, fmt.Sprintf("waltz storage reset --partition %d --keep", p))
	}
	if state.Closed != nil && state.Closed.First == 0 && state.Closed.Last == damage.Unknown {
		return nil
	}
	if err := log.Cut(state.InSegments); err != nil {
		if !damage.Is(err) {
			return err
		}
		s.noteDamage(r, err, nil)
	}
	return nil
}
