package storage

import (
	"context"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/segment"
)

// ScrubReport says what Scrub read.
type ScrubReport struct {
	Records, Bytes int64
	Damage         []*DamagedError // all that is known, as Storage.Damage
}

// Scrub reads every record of every segment, and every index, and verifies
// them. What is damaged is from then on refused by Read without reading it, and
// stands in the report; a damaged index is rebuilt in the background. It reads a
// mebibyte at a time and can be stopped by ctx.
func (s *Storage) Scrub(ctx context.Context) (ScrubReport, error) {
	var report ScrubReport
	for _, r := range s.replicas() {
		if err := s.scrubReplica(ctx, r, &report); err != nil {
			return report, fmt.Errorf("scrub partition %d: %w", r.Now.Partition, err)
		}
	}
	report.Damage = s.Damage()
	s.wakeFlusherForIndexes()
	return report, nil
}

func (s *Storage) scrubReplica(ctx context.Context, r *replica, report *ScrubReport) error {
	for {
		s.mu.Lock()
		last, cuts := r.InSegments, r.Cuts
		s.mu.Unlock()
		var found []error
		records, bytes, err := r.log.Scrub(ctx, segment.Pass{Last: last, Found: func(err error) { found = append(found, err) }})
		if s.cutSince(r, cuts) {
			continue // a truncation under our eyes looks like damage
		}
		for _, err := range found {
			s.noteDamage(r, err)
		}
		report.Records, report.Bytes = report.Records+records, report.Bytes+bytes
		return err
	}
}

// wakeFlusherForIndexes has the flusher rebuild what readers found damaged.
func (s *Storage) wakeFlusherForIndexes() {
	s.mu.Lock()
	s.mu.want.flush = true
	s.mu.Unlock()
	s.wakeFlusher()
}

// ScrubState says how far the background scrub is.
type ScrubState struct {
	Running       bool
	Partition     txn.Partition // that it is at
	Next          txn.ID        // record that it goes on at
	Bytes         int64         // read in this pass
	Began         time.Time     // this pass; zero: none is under way
	LastEnded     time.Time     // the last whole pass; zero: there was none
	LastBytes     int64         // read in it
	LastDamage    int           // ranges found in it
	LastRemaining time.Duration // until the next pass; zero while one runs
}

// ScrubState returns how far the background scrub is.
func (s *Storage) ScrubState() ScrubState { return ScrubState{} }
