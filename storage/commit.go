package storage

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
)

// batch is what goes into the journal as one group, and who waits for it.
type batch struct {
	group   *journal.Group
	steps   []step
	appends int
}

// step is one message's part of a batch.
type step struct {
	r    *replica
	e    journal.Entry // without its body, Kind 0: nothing is written
	body int           // offset of the body in the group
	len  int
	last session.Appended
	done func(session.Appended, error)
}

// groupBytes is the first capacity of a group's buffer.
const groupBytes = journal.Block

func newBatch() *batch { return &batch{group: journal.NewGroup(groupBytes)} }

// bytes returns how much waits.
func (b *batch) bytes() int {
	if b.group.Empty() {
		return 0
	}
	return b.group.Bytes()
}

// enqueueLocked puts a message's entry into the queue and moves the replica's
// Next by it. done is called when the entry, and every one before it, is on
// disk; with Kind 0 nothing is written and done still waits for its turn.
func (s *Storage) enqueueLocked(r *replica, e journal.Entry, done func(session.Appended, error)) {
	b := s.mu.queue
	st := step{r: r, e: e, len: len(e.Body), done: done}
	if e.Kind != 0 {
		st.body = b.group.Add(e)
		if r != nil {
			r.Queue(&e)
		}
		st.e.Body = nil
	}
	b.steps = append(b.steps, st)
	if s.mu.idle {
		s.wakeCommitterLocked()
	}
}

func (s *Storage) wakeCommitterLocked() {
	select {
	case s.mu.wake <- struct{}{}:
	default:
	}
}

// commitLoop is the group commit: it writes what queued while the last sync
// ran. It ends when the storage is closed and the queue is empty, or fails.
func (s *Storage) commitLoop() {
	crowded := false
	for {
		b := s.take(crowded)
		if b == nil {
			return
		}
		crowded = b.crowded()
		if mutant.On("ack-before-fsync") {
			s.publish(b)
		}
		err := s.commit(b)
		if err != nil {
			s.giveUp(b, err)
			return
		}
		if !mutant.On("ack-before-fsync") {
			s.publish(b)
		}
		s.reuse(b)
	}
}

// take waits for something to write; nil when the storage was closed. Behind a
// crowded batch it gathers first.
func (s *Storage) take(crowded bool) *batch {
	for {
		if crowded {
			s.gather()
		}
		s.mu.Lock()
		if b := s.mu.queue; len(b.steps) > 0 && s.mu.err == nil {
			s.mu.queue, s.mu.spare = s.mu.spare, nil
			if s.mu.queue == nil {
				s.mu.queue = newBatch()
			}
			s.mu.idle = false
			s.mu.Unlock()
			return b
		}
		if s.mu.closed || s.mu.err != nil {
			s.mu.Unlock()
			s.drain()
			return nil
		}
		s.mu.idle = true
		s.mu.Unlock()
		<-s.mu.wake
	}
}

// gather lets others run as long as that brings more to write: appends of several
// partitions come one by one from as many goroutines, and those that are ready
// would miss this group. It keeps the syncs of 64 partitions at about what one
// partition needs, where taking what is there needs up to twice as many; when
// nobody is ready it costs one look at the run queue.
func (s *Storage) gather() {
	for before := 0; ; {
		runtime.Gosched()
		s.mu.Lock()
		now, bytes := len(s.mu.queue.steps), s.mu.queue.bytes()
		s.mu.Unlock()
		if now == before || bytes >= gatherBytes {
			return
		}
		before = now
	}
}

// gatherBytes is what is enough for one sync: from about here on writing the bytes
// takes longer than the flush behind them.
const gatherBytes = 1 << 20

// crowded reports whether a batch holds messages for several replicas.
func (b *batch) crowded() bool {
	for i := range b.steps {
		if b.steps[i].r != b.steps[0].r {
			return true
		}
	}
	return false
}

// commit writes a batch, waiting as long as the disk is full.
func (s *Storage) commit(b *batch) error {
	if b.group.Empty() {
		return nil
	}
	file := s.journal.Current()
	for {
		began := time.Now()
		err := s.journal.Commit(b.group)
		if err == nil {
			if s.o.Events.Committed != nil {
				s.o.Events.Committed(time.Since(began), b.group.Bytes(), b.appends)
			}
			if s.journal.Current() != file {
				s.requestCheckpoint()
			}
			return nil
		}
		if !journal.IsFull(err) {
			return err
		}
		s.setJournalFull(err)
		if !s.pause(s.ctx, s.o.RetryInterval) {
			return err
		}
		s.setJournalFull(nil)
	}
}

// pause waits for a time; false if the context ended first.
func (s *Storage) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// publish moves the replicas to what is now on disk, and tells who waits.
func (s *Storage) publish(b *batch) {
	s.mu.Lock()
	cost := 0
	if b.appends > 0 {
		cost = b.group.Bytes() / b.appends
	}
	for i := range b.steps {
		s.applyLocked(b, &b.steps[i], cost)
	}
	s.mu.stats.committed(b)
	s.shrunkLocked()
	if s.mu.backlog >= s.o.FlushBytes {
		s.mu.want.flush = true
		s.wakeFlusher()
	}
	s.mu.Unlock()
	for i := range b.steps {
		if st := &b.steps[i]; st.done != nil {
			st.done(st.last, nil)
		}
	}
}

func (s *Storage) applyLocked(b *batch, st *step, cost int) {
	if st.r == nil {
		return
	}
	switch st.e.Kind {
	case 0, journal.State: // nothing moves
	case journal.Records:
		st.e.Body = b.group.Body(st.body, st.len)
		st.r.Apply(&st.e, partition.Chunk{Frame: st.e.Body, At: journal.Place{File: s.journal.Current()}, Cost: cost})
		s.mu.backlog += cost
	case journal.Flushed:
		st.r.Synced = max(st.r.Synced, min(st.e.Last, st.r.InSegments))
	default:
		s.mu.backlog -= st.r.Apply(&st.e, partition.Chunk{})
	}
	if st.e.Kind == journal.Gone {
		delete(s.mu.replicas, st.r.Now.Partition)
	}
	st.last = session.Appended{Replica: st.r.Now.Self, Last: st.r.Now.Last}
}

// shrunkLocked wakes who waits for room.
func (s *Storage) shrunkLocked() {
	if s.mu.waiting == 0 {
		return
	}
	s.mu.waiting = 0
	close(s.mu.room)
	s.mu.room = make(chan struct{})
}

// reuse keeps a batch's list for the next one. Its group's bytes stay with the
// replicas, until segments have them.
func (s *Storage) reuse(b *batch) {
	clear(b.steps)
	next := &batch{group: journal.NewGroup(b.group.Bytes()), steps: b.steps[:0]}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.spare == nil {
		s.mu.spare = next
	}
}

// giveUp ends the loop after an error, and tells who waits: of these entries
// nobody knows whether they are on disk. A storage that is closed while the
// disk is full has not failed.
func (s *Storage) giveUp(b *batch, err error) {
	s.mu.Lock()
	closed := s.mu.closed && s.mu.err == nil
	s.mu.Unlock()
	if !closed || !journal.IsFull(err) && !errors.Is(err, context.Canceled) {
		s.fail(err)
	}
	s.refuse(b)
	s.drain()
}

// drain answers what is still queued when the storage has ended.
func (s *Storage) drain() {
	s.mu.Lock()
	b := s.mu.queue
	s.mu.queue = newBatch()
	s.mu.Unlock()
	s.refuse(b)
}

func (s *Storage) refuse(b *batch) {
	err := s.Err()
	if err == nil {
		err = ErrClosed
	}
	for i := range b.steps {
		if st := &b.steps[i]; st.done != nil {
			st.done(session.Appended{}, err)
		}
	}
}
