// Package fakestore is a log in memory with store sessions on it, for the tests
// of what runs above package store. A test can hold commits back, end a session
// with any part of what was in flight surviving, and make opening fail. It
// checks what a session must be given: frames that fit, in order, stamped.
package fakestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// ErrEnded is why a session has ended, unless End was told otherwise.
var ErrEnded = errors.New("the test ended the session")

// Log is one partition's log, which outlives its sessions. The zero value is
// empty. All methods may be called concurrently.
type Log struct {
	// Sync is called before a group is committed, on the session's goroutine.
	Sync func(group []record.Frame)

	mu        sync.Mutex
	frames    []record.Frame // one per record
	committed txn.ID         // -1 + number of committed records
	sessions  txn.SessionID
	current   *Session
	held      bool
	stalled   error
	doubt     error         // what Confirm says
	doubted   chan struct{} // it waits for this; nil: for nothing
	openErr   error
	readErr   error
	fault     error // what a caller did wrong
	damaged   map[txn.ID]bool
	reads     int
}

// New returns an empty log.
func New() *Log { return &Log{committed: txn.None} }

// Session implements partition.Session.
type Session struct {
	log       *Log
	id        txn.SessionID
	high      txn.ID
	highStamp txn.SessionID
	highTime  txn.Timestamp
	told      func(txn.ID)

	queue []pending // guarded by log.mu
	kick  chan struct{}
	stall chan struct{}
	done  chan struct{}
	err   error
	quit  sync.WaitGroup
}

type pending struct {
	frame record.Frame
	last  txn.ID
}

// Open starts a session; an open one ends.
func (l *Log) Open(_ context.Context, p txn.Partition, committed func(txn.ID)) (*Session, error) {
	l.End(-1, errors.New("another session was opened"))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.openErr != nil {
		return nil, l.openErr
	}
	l.sessions++
	l.committed = txn.ID(len(l.frames)) - 1
	s := &Session{log: l, id: l.sessions, high: l.committed, told: committed, kick: make(chan struct{}, 1), stall: make(chan struct{}, 1), done: make(chan struct{})}
	if n := len(l.frames); n > 0 {
		r, _, err := record.Decode(l.frames[n-1])
		if err != nil || r.Partition != p {
			return nil, fmt.Errorf("last record of partition %d: %w", r.Partition, err)
		}
		if s.highStamp = r.Stamp; !l.damaged[s.high] {
			s.highTime = r.Time
		}
	}
	l.current = s
	if l.stalled != nil {
		signal(s.stall)
	}
	s.quit.Go(s.run)
	return s, nil
}

// Fill appends committed records to a log without a session.
func (l *Log) Fill(frame record.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.split(frame)
	l.committed = txn.ID(len(l.frames)) - 1
}

// Hold makes commits wait, or go on.
func (l *Log) Hold(held bool) {
	l.mu.Lock()
	l.held = held
	s := l.current
	l.mu.Unlock()
	if s != nil {
		s.wake()
	}
}

// Doubt makes sessions not confirm: with an error, or with nil not until the
// returned function is called, which lets them again.
func (l *Log) Doubt(err error) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := make(chan struct{})
	if l.doubt = err; err == nil {
		l.doubted = wait
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.doubt, l.doubted = nil, nil
		close(wait)
	}
}

// Stall makes sessions say that storages are full, and holds commits back, until
// it is called with nil.
func (l *Log) Stall(err error) {
	l.mu.Lock()
	l.stalled = err
	s := l.current
	l.mu.Unlock()
	if s != nil {
		signal(s.stall)
		signal(s.kick)
	}
}

// FailOpen makes Open fail until it is called with nil.
func (l *Log) FailOpen(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.openErr = err
}

// FailRead makes reads fail until it is called with nil.
func (l *Log) FailRead(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readErr = err
}

// Damage makes reads of records fail as those of damaged ones do, for good.
// Records returns them all the same, to judge by.
func (l *Log) Damage(first, last txn.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.damaged == nil {
		l.damaged = map[txn.ID]bool{}
	}
	for id := first; id <= last; id++ {
		l.damaged[id] = true
	}
}

// Damaged returns the last damaged record, None if there is none.
func (l *Log) Damaged() txn.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := txn.None
	for id := range l.damaged {
		last = max(last, id)
	}
	return last
}

// End ends the open session, if any. Of the frames in flight the first keep
// survive in the log (all if it is negative), though nobody was told.
func (l *Log) End(keep int, err error) {
	l.mu.Lock()
	s := l.current
	if s == nil {
		l.mu.Unlock()
		return
	}
	l.current = nil
	if keep < 0 || keep > len(s.queue) {
		keep = len(s.queue)
	}
	for _, p := range s.queue[:keep] {
		l.split(p.frame)
	}
	s.queue = nil
	s.err = err
	if err == nil {
		s.err = ErrEnded
	}
	close(s.done)
	l.mu.Unlock()
	s.quit.Wait()
}

// InFlight returns how many frames wait to be committed.
func (l *Log) InFlight() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		return 0
	}
	return len(l.current.queue)
}

// Sessions returns how many sessions were opened.
func (l *Log) Sessions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int(l.sessions)
}

// Reads returns how many reads there were.
func (l *Log) Reads() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

// Records decodes the committed log.
func (l *Log) Records() ([]record.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []record.Record
	for r, err := range slices.Concat(l.frames...).All() {
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, l.fault
}

func (l *Log) split(frame record.Frame) {
	for len(frame) > 0 {
		n := frame.TrustedLen()
		l.frames = append(l.frames, frame[:n:n])
		frame = frame[n:]
	}
}

// ID implements partition.Session.
func (s *Session) ID() txn.SessionID { return s.id }

// High implements partition.Session.
func (s *Session) High() txn.ID { return s.high }

// HighStamp implements partition.Session.
func (s *Session) HighStamp() txn.SessionID { return s.highStamp }

// HighTime implements partition.Session.
func (s *Session) HighTime() txn.Timestamp { return s.highTime }

// Done implements partition.Session.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err implements partition.Session.
func (s *Session) Err() error {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.err
}

// Stalled implements partition.Session.
func (s *Session) Stalled() error {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.stalled
}

// Stalls implements partition.Session.
func (s *Session) Stalls() <-chan struct{} { return s.stall }

// Append implements partition.Session, and checks what it is given.
func (s *Session) Append(_ context.Context, frame record.Frame, last txn.ID) error {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	end := l.committed
	if n := len(s.queue); n > 0 {
		end = s.queue[n-1].last
	}
	if frame.TrustedID() != end+1 {
		l.fault = fmt.Errorf("frame begins with transaction %d after %d", frame.TrustedID(), end)
		return l.fault
	}
	s.queue = append(s.queue, pending{frame, last})
	s.wake()
	return nil
}

func (s *Session) wake() { signal(s.kick) }

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run commits what has been queued, everything that waits at once.
func (s *Session) run() {
	for {
		select {
		case <-s.kick:
		case <-s.done:
			return
		}
		group := s.group()
		if len(group) == 0 {
			continue
		}
		if s.log.Sync != nil {
			frames := make([]record.Frame, len(group))
			for i := range group {
				frames[i] = group[i].frame
			}
			s.log.Sync(frames)
		}
		if s.commit(len(group)) {
			s.told(group[len(group)-1].last)
		}
		s.wake()
	}
}

func (s *Session) group() []pending {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	if s.log.held || s.log.stalled != nil || s.err != nil {
		return nil
	}
	return slices.Clone(s.queue)
}

func (s *Session) commit(n int) bool {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.err != nil {
		return false
	}
	for _, p := range s.queue[:n] {
		l.split(p.frame)
	}
	l.committed = s.queue[n-1].last
	s.queue = slices.Delete(s.queue, 0, n)
	return true
}

// Read implements partition.Session.
func (s *Session) Read(_ context.Context, first, last txn.ID, bytesMax int) (record.Frame, error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if l.readErr != nil {
		return nil, l.readErr
	}
	if s.err != nil {
		return nil, s.err
	}
	if first < 0 || first > last || last > l.committed {
		l.fault = fmt.Errorf("read %d to %d of a log committed up to %d", first, last, l.committed)
		return nil, l.fault
	}
	if l.damaged[first] {
		return nil, fmt.Errorf("read %d: %w", first, &record.CorruptError{Reason: "the test damaged it"})
	}
	var out record.Frame
	for id := first; id <= last && !l.damaged[id] && (id == first || len(out)+len(l.frames[id]) <= bytesMax); id++ {
		out = append(out, l.frames[id]...)
	}
	return out, nil
}

// Confirm implements partition.Session.
func (s *Session) Confirm(ctx context.Context) error {
	s.log.mu.Lock()
	err, wait := s.log.doubt, s.log.doubted
	s.log.mu.Unlock()
	if wait == nil {
		return err
	}
	select {
	case <-wait:
		return s.Confirm(ctx)
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// At implements partition.Session.
func (s *Session) At(_ context.Context, t txn.Timestamp) (txn.ID, error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := txn.ID(0); id <= l.committed; id++ {
		r, _, err := record.Decode(l.frames[id])
		if err != nil {
			return txn.None, err
		}
		if r.Time >= t {
			return id, nil
		}
	}
	return l.committed + 1, nil
}

// Close implements partition.Session.
func (s *Session) Close(context.Context) error {
	s.log.mu.Lock()
	open := s.log.current == s
	s.log.mu.Unlock()
	if open {
		s.log.End(-1, errors.New("closed"))
	}
	s.quit.Wait()
	return nil
}
