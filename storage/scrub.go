package storage

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/segment"
)

// ScrubReport says what Scrub read.
type ScrubReport struct {
	Records, Bytes int64
	Damage         []*DamagedError // all that is known, as Storage.Damage
}

// Scrub reads every record of every segment, and every index, and verifies them,
// at once and as fast as the disk allows; the background scrub ([ScrubState]) is
// not touched. What is damaged is from then on refused by Read without reading it,
// and stands in the report; a damaged index is rebuilt in the background. It can
// be stopped by ctx.
func (s *Storage) Scrub(ctx context.Context) (ScrubReport, error) {
	var report ScrubReport
	for _, r := range s.replicas() {
		err := s.scrubReplica(ctx, r, segment.Pass{Passed: func(_ txn.ID, records, bytes int64) {
			report.Records, report.Bytes = report.Records+records, report.Bytes+bytes
		}})
		if err != nil {
			return report, fmt.Errorf("scrub partition %d: %w", r.Now.Partition, err)
		}
	}
	report.Damage = s.Damage()
	s.wakeFlusherForIndexes()
	return report, nil
}

// scrubReplica scrubs a replica's segments from p.From on, whatever happens to
// them meanwhile. Damage that is new is told to p.Found, if that is there.
func (s *Storage) scrubReplica(ctx context.Context, r *replica, p segment.Pass) error {
	passed, found := p.Passed, p.Found
	for again := true; again; {
		again = false
		s.mu.Lock()
		cuts, rewrites := r.Cuts, r.rewrites
		p.Last = r.InSegments
		s.mu.Unlock()
		changed := func() bool { return r.Cuts != cuts || r.rewrites != rewrites }
		p.Found = func(err error) {
			if added := s.noteDamage(r, err, changed); added && found != nil {
				found(err)
			}
		}
		p.Passed = func(next txn.ID, records, bytes int64) {
			s.mu.Lock()
			again = again || changed()
			s.mu.Unlock()
			if again { // a truncation or a repair under our eyes looks like damage
				return
			}
			p.From = next
			passed(next, records, bytes)
		}
		if _, _, err := r.log.Scrub(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// wakeFlusherForIndexes has the flusher rebuild what readers found damaged.
func (s *Storage) wakeFlusherForIndexes() {
	s.mu.Lock()
	s.mu.want.flush = true
	s.mu.Unlock()
	s.wakeFlusher()
}
