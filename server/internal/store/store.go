// Package store drives one store session: a server's tenure of one partition.
// It carries out what [session.Leader] decides: changes the metadata, sends the
// messages to the storages, and brings their answers back. The rules are
// PROTOCOL.md's and live in the leader; here are only calls, goroutines and
// bounds.
//
//	Open: claim → promise → choose → install → record → open
//	open ⇄ stalled, while a majority can't take appends for full disks
//	open → ended, when another session takes over, the metadata says so, no
//	       majority answers, or Close is called
//
// A session is never repaired: what ended stays ended, and the server opens
// another. What was appended and not committed is then unanswered, not refused;
// the next session's log tells.
//
// There is no owner goroutine. The leader stands under a mutex that is held for
// arithmetic only, never over a call to a storage, so that an append goes from
// the sequencer's goroutine straight into the storage's queue, and its answer
// straight from the storage's goroutine to Events.Committed. An owner in between
// would cost two goroutine switches for every group, 5 to 10 µs each when idle.
// Calls that wait (metadata, opening, copying) run in goroutines of their own
// that end with the session.
package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

var (
	// ErrClosed: Close was called.
	ErrClosed = errors.New("store session is closed")
	// ErrNoMajority: fewer than a majority of members answer.
	ErrNoMajority = errors.New("no majority of storages answers")
	// ErrNoAnswer: a storage has left a message unanswered for too long.
	ErrNoAnswer = errors.New("no answer")
)

// Session is an open store session. Append is for one goroutine at a time; all
// other methods may be called concurrently.
type Session struct {
	c        Config
	ctx      context.Context // ends with the session
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	opened   chan struct{}
	done     chan struct{}
	stalls   chan struct{}
	switches chan struct{}
	id       txn.SessionID // set before opened is closed
	highTime txn.Timestamp // set before Open returns

	mu struct {
		sync.Mutex
		leader   *session.Leader
		version  metadata.Version // of M as last read or written
		links    []*link          // replicas that take appends
		current  []*link          // those of them that need no catching up
		queue    queue
		high     txn.ID
		stamp    txn.SessionID // of high
		isOpen   bool
		closing  bool
		err      error         // why it ended
		moved    chan struct{} // closed and replaced when the queue shrinks, if somebody waits
		waiters  int
		lostFrom time.Time // since when no majority answers; zero: one does
		stalled  error     // why a majority can't take appends now
		prepared []string  // the target that could be switched to
		watching bool      // watchQueue runs
		confirm  rounds
		reads    uint64               // asked for, to see whose turn it is
		troubles map[string]*trouble  // by storage; of those that don't take part
		told     map[string]time.Time // by storage that is copied to: when the log told so
		ahead    map[string]*ahead    // by the storage that lacks the records
	}
	copied atomic.Uint64 // bytes read and sent again to replicas that catch up

	told struct { // nests inside nothing; taken without mu
		sync.Mutex
		committed txn.ID
	}
}

// Open claims the next session of a partition and opens it. It tries again with
// a new number when somebody else changed the metadata at the same time, until
// ctx ends. Errors wrap those of package session, say [session.ErrReassigned].
func Open(ctx context.Context, c Config) (*Session, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open store session of partition %d: %w", c.Partition, err)
	}
	for range c.claims {
		s := newSession(ctx, c)
		if err = s.open(ctx); err == nil {
			return s, nil
		}
		s.finish(err)
		s.wg.Wait()
		if !session.ClaimAnew(err) || !sleep(ctx, c.Backoff) {
			break
		}
	}
	return nil, fmt.Errorf("open store session of partition %d: %w", c.Partition, err)
}

func newSession(ctx context.Context, c Config) *Session {
	s := &Session{c: c, opened: make(chan struct{}), done: make(chan struct{}), stalls: make(chan struct{}, 1), switches: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.mu.moved = make(chan struct{})
	s.mu.troubles, s.mu.ahead = map[string]*trouble{}, map[string]*ahead{}
	s.mu.told = map[string]time.Time{}
	s.mu.queue.keepMax = c.LinkMax
	return s
}

// open runs the attempt until it is open or has failed.
func (s *Session) open(ctx context.Context) error {
	s.mu.Lock()
	leader, first := session.NewLeader(s.c.Partition, s.c.Generation)
	leader.Keep(s.c.Prepared)
	s.mu.leader = leader
	s.goDo(s.watchM)
	s.performLocked(first)
	s.mu.Unlock()
	select {
	case <-s.opened:
	case <-s.done:
		return s.Err()
	case <-ctx.Done():
		return s.notOpened(ctx)
	}
	return s.readHighTime(ctx)
}

// notOpened says what an attempt was waiting for when ctx ended.
func (s *Session) notOpened(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failureLocked(context.Cause(ctx))
}

// readHighTime learns the last committed record's timestamp, below which the
// next may not fall. If the record is damaged nobody knows; that is no reason not
// to go on behind it.
func (s *Session) readHighTime(ctx context.Context) error {
	high := s.High()
	if high == txn.None {
		return nil
	}
	f, err := s.Read(ctx, high, high, 1)
	if record.IsCorrupt(err) {
		s.c.Logger.Warn("last transaction is damaged", "session", int64(s.id), "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the last transaction: %w", err)
	}
	for r := range f.Trusted() {
		s.highTime = r.Time
	}
	return nil
}

// ID returns the session's number, the stamp of every record it appends.
func (s *Session) ID() txn.SessionID { return s.id }

// High returns the last transaction at the time of opening, [txn.None] if the
// log was empty: the session's low-water mark. It was committed.
func (s *Session) High() txn.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.high
}

// HighStamp returns the stamp of High, 0 if there is none.
func (s *Session) HighStamp() txn.SessionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.stamp
}

// HighTime returns the timestamp of High, 0 if there is none or it is damaged.
func (s *Session) HighTime() txn.Timestamp { return s.highTime }

// Done is closed when the session has ended; Err tells why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err returns why the session ended, nil while it goes on; [ErrClosed] after
// Close.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.err
}

// Close ends the session: it takes no more appends, waits until what was
// appended is committed or ctx ends, then a little for the replicas that are not
// of the majority, so that the next session has nothing to copy, and returns when
// nothing of it runs any more. It may be called more than once. The error is
// ctx's, or that of full storages, for which it does not wait.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	s.mu.closing = true
	s.mu.Unlock()
	err := s.drain(ctx)
	if err == nil {
		s.handOver(ctx)
	}
	s.finish(ErrClosed)
	s.wg.Wait()
	return err
}

// drain waits until nothing that was appended is uncommitted.
func (s *Session) drain(ctx context.Context) error {
	return s.await(ctx, func() bool { return s.mu.queue.empty() })
}

// handOver waits until the replicas that are not far behind have everything and
// are known to M, but not for long.
func (s *Session) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.c.HandOverMax)
	defer cancel()
	_ = s.await(ctx, func() bool {
		for _, l := range s.mu.current {
			if l.took < s.mu.queue.last || !s.mu.leader.Counts(l.storage, l.self) {
				return false
			}
		}
		return true
	})
}

// await waits for a condition under mu, or until the session has ended or is
// stalled, which is an error like the end of ctx.
func (s *Session) await(ctx context.Context, met func() bool) error {
	for {
		s.mu.Lock()
		if met := s.mu.err != nil || met(); met || s.mu.stalled != nil {
			defer s.mu.Unlock()
			if met {
				return nil
			}
			return s.mu.stalled
		}
		moved := s.waitLocked()
		s.mu.Unlock()
		select {
		case <-moved:
		case <-s.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// finish ends the session once.
func (s *Session) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishLocked(err)
}

func (s *Session) finishLocked(err error) {
	if s.mu.err != nil {
		return
	}
	s.mu.err, s.mu.stalled = err, nil
	s.cancel()
	close(s.done)
	if s.mu.isOpen {
		s.c.Logger.Info("store session ended", "session", int64(s.mu.leader.Session()), "reason", err)
	}
}
