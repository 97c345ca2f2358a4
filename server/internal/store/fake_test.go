package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// storage is a store.Replica in memory that keeps PROTOCOL.md's rules, with
// switches for what can go wrong. Its answers come from a goroutine of their
// own, in order, as a real one's do.
type storage struct {
	mu      sync.Mutex
	state   *session.ReplicaState
	log     []record.Frame // one record each
	down    error          // every call fails
	held    bool           // appends are taken and not answered
	waiting []func()       // answers not given yet
	answers chan func()
	fullAt  int   // appends are refused when the log has that many records; 0: never
	refused int   // so many times
	stuck   error // what Full says

	confirms  int // so many were asked for
	cuts      int // truncated so often
	copies    int // copied to so often
	reads     int
	opens     int
	largest   int           // bytes of one append
	busy      bool          // TryAppend has no room
	crowded   bool          // Append has no room
	crowds    int           // so many times
	crowdLate bool          // crowded says so by its answer
	mum       bool          // Read waits for its context
	waited    int           // so many times
	late      bool          // appends that find no room are refused by their answer
	hung      chan struct{} // every call waits for its context, until it is closed
	delay     time.Duration // of each read
	damaged   [2]txn.ID     // these can't be read, if the second is not 0
	mute      bool          // Confirm is answered as if nothing had been promised since
}

var (
	errFull  = fmt.Errorf("write: %w", session.ErrFull)
	errBroke = errors.New("disk is broken")
)

// Full implements store.Fuller.
func (s *storage) Full() (err error) {
	s.set(func() { err = s.stuck })
	return err
}

func newStorage(incarnation session.Incarnation) *storage {
	s := &storage{answers: make(chan func(), 1024)}
	s.state = session.NewReplicaState(0, session.Replica{Incarnation: incarnation, Start: 1})
	go func() {
		for f := range s.answers {
			f()
		}
	}()
	return s
}

func (s *storage) stop() { close(s.answers) }

func (s *storage) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *storage) restart() { s.set(func() { s.state.Self.Start++; s.down = nil }) }

func (s *storage) wipe(incarnation session.Incarnation) {
	s.set(func() {
		s.state = session.NewReplicaState(0, session.Replica{Incarnation: incarnation, Start: 1})
		s.log = nil
	})
}

// release answers what was held back.
func (s *storage) release() {
	s.set(func() {
		s.held = false
		for _, f := range s.waiting {
			s.answers <- f
		}
		s.waiting = nil
	})
}

// hang waits as long as the storage does not answer.
func (s *storage) hang(ctx context.Context) error {
	var hung chan struct{}
	s.set(func() { hung = s.hung })
	if hung == nil {
		return nil
	}
	select {
	case <-hung:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *storage) Open(ctx context.Context, m session.Open) (p session.Promise, err error) {
	if err := s.hang(ctx); err != nil {
		return p, err
	}
	s.set(func() {
		s.opens++
		if err = s.down; err == nil {
			if _, err = s.state.CheckOpen(m); err == nil {
				s.state.ApplyPromise(m.Session)
				p = s.state.Promise()
			}
		}
	})
	return p, err
}

func (s *storage) Truncate(_ context.Context, m session.Truncate) (err error) {
	s.set(func() {
		if err = s.down; err == nil {
			s.cuts++
			if _, err = s.state.CheckTruncate(m); err == nil {
				s.state.ApplyTruncate(m.Last)
				s.log = s.log[:s.state.Last+1]
			}
		}
	})
	return err
}

func (s *storage) Copy(_ context.Context, m session.Copy) (err error) {
	s.set(func() {
		if err = s.down; err != nil {
			return
		}
		s.copies++
		span, _ := m.Records.Check()
		var write bool
		if write, err = s.state.CheckCopy(&m, span); write {
			s.add(m.Records, span)
		}
	})
	return err
}

func (s *storage) Install(_ context.Context, m session.Install) (err error) {
	s.set(func() {
		if err = s.down; err == nil {
			if _, err = s.state.CheckInstall(m); err == nil {
				s.state.ApplyInstall(m.Session)
			}
		}
	})
	return err
}

func (s *storage) Confirm(ctx context.Context, m session.Confirm) (err error) {
	if err := s.hang(ctx); err != nil {
		return err
	}
	s.set(func() {
		if err = s.down; err == nil {
			s.confirms++
			if !s.mute {
				err = s.state.CheckConfirm(m)
			}
		}
	})
	return err
}

func (s *storage) add(f record.Frame, span record.Span) {
	s.state.ApplyRecords(f, span)
	for len(f) > 0 {
		n := f.TrustedLen()
		s.log = append(s.log, f[:n])
		f = f[n:]
	}
}

// TryAppend implements store.Trier.
func (s *storage) TryAppend(m session.Append, done func(session.Appended, error)) error {
	busy := false
	if s.set(func() { busy = s.busy }); busy {
		return session.ErrBusy
	}
	return s.Append(context.Background(), m, done)
}

func (s *storage) Append(_ context.Context, m session.Append, done func(session.Appended, error)) (err error) {
	s.set(func() {
		if err = s.down; err != nil {
			return
		}
		if s.crowded {
			s.crowds++
			if !s.crowdLate {
				err = session.ErrBusy
				return
			}
			a := session.Appended{Replica: s.state.Self, Last: s.state.Last}
			s.answers <- func() { done(a, session.ErrBusy) }
			return
		}
		span, _ := m.Records.Check()
		write, refused := s.state.CheckAppend(&m, span)
		if s.fullAt > 0 && len(s.log) >= s.fullAt && write {
			s.refused++
			if !s.late {
				err = errFull
				return
			}
			refused, write = errFull, false
		}
		s.largest = max(s.largest, len(m.Records))
		if write {
			s.add(m.Records, span)
			s.state.ApplyCommitted(m.Committed)
		}
		a := session.Appended{Replica: s.state.Self, Last: s.state.Last}
		answer := func() { done(a, refused) }
		if s.held {
			s.waiting = append(s.waiting, answer)
			return
		}
		s.answers <- answer
	})
	return err
}

func (s *storage) Read(ctx context.Context, _ txn.Partition, first, last txn.ID, bytesMax int) (f record.Frame, err error) {
	if err := s.hang(ctx); err != nil {
		return nil, err
	}
	var delay time.Duration
	mum := false
	s.set(func() { delay, mum = s.delay, s.mum })
	if mum {
		<-ctx.Done()
		s.set(func() { s.waited++ })
		return nil, ctx.Err()
	}
	if delay > 0 {
		<-time.After(delay)
	}
	s.set(func() {
		s.reads++
		if err = s.down; err != nil {
			return
		}
		last = min(last, txn.ID(len(s.log)-1))
		if first > last {
			err = errors.New("not here")
			return
		}
		if d := s.damaged; d[1] > 0 && first <= d[1] && last >= d[0] {
			if first >= d[0] {
				err = fmt.Errorf("segment: %w", &record.CorruptError{Reason: "checksum"})
				return
			}
			last = d[0] - 1
		}
		for id := first; id <= last && (len(f) == 0 || len(f)+len(s.log[id]) <= bytesMax); id++ {
			f = append(f, s.log[id]...)
		}
	})
	return f, err
}

func (s *storage) At(_ context.Context, _ txn.Partition, t txn.Timestamp) (id txn.ID, err error) {
	s.set(func() {
		for int(id) < len(s.log) {
			r, _, _ := record.Decode(s.log[id])
			if r.Time >= t {
				break
			}
			id++
		}
	})
	return id, s.down
}

func (s *storage) last() (last txn.ID) {
	s.set(func() { last = s.state.Last })
	return last
}

func (s *storage) bytes() (b []byte) {
	s.set(func() {
		for _, f := range s.log {
			b = append(b, f...)
		}
	})
	return b
}
