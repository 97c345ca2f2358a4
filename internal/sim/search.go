package sim

import (
	"context"
	"sync"
)

// Progress counts what a search has gone through.
type Progress struct {
	Schedules, Messages, Faults uint64
	Learners                    Learners
	Forced                      uint64 // forced recoveries
	Closed                      uint64 // schedules that could not open a session in the end, since most disks were lost
}

// Search runs the schedules of so many seeds, some at a time, until one breaks a
// rule, and returns that one; nil if none does. Every few thousand schedules
// progress is called, unless it is nil, by one goroutine at a time.
func Search(ctx context.Context, from, seeds uint64, workers int, progress func(Progress)) (*Result, Progress) {
	s := search{next: from, end: from + seeds, report: progress}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { s.work(ctx) })
	}
	wg.Wait()
	return s.failed, s.done
}

type search struct {
	mu        sync.Mutex
	next, end uint64
	done      Progress
	failed    *Result
	report    func(Progress)
}

const reportEvery = 10_000

func (s *search) work(ctx context.Context) {
	for {
		seed, ok := s.take()
		if !ok || ctx.Err() != nil {
			return
		}
		s.finish(Run(seed))
	}
}

// take returns the next seed. After a failure those below it are still run, so
// that the lowest is found whatever the number of workers.
func (s *search) take() (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next >= s.end || s.failed != nil {
		return 0, false
	}
	s.next++
	return s.next - 1, true
}

func (s *search) finish(r *Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done.Schedules++
	s.done.Messages += uint64(r.Messages)
	s.done.Faults += uint64(r.Faults)
	s.done.Learners.add(r.Learners)
	s.done.Forced += uint64(r.Forced)
	if r.Closed {
		s.done.Closed++
	}
	if r.Err != nil && (s.failed == nil || r.Seed < s.failed.Seed) {
		s.failed = r
	}
	if s.report != nil && s.done.Schedules%reportEvery == 0 {
		s.report(s.done)
	}
}
