package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

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

	confirms int // so many were asked for
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

func (s *storage) Open(_ context.Context, m session.Open) (p session.Promise, err error) {
	s.set(func() {
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

func (s *storage) Confirm(_ context.Context, m session.Confirm) (err error) {
	s.set(func() {
		if err = s.down; err == nil {
			err = s.state.CheckConfirm(m)
			s.confirms++
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

func (s *storage) Append(_ context.Context, m session.Append, done func(session.Appended, error)) (err error) {
	s.set(func() {
		if err = s.down; err != nil {
			return
		}
		span, _ := m.Records.Check()
		write, refused := s.state.CheckAppend(&m, span)
		if s.fullAt > 0 && len(s.log) >= s.fullAt && write {
			s.refused++
			err = errFull
			return
		}
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

func (s *storage) Read(_ context.Context, _ txn.Partition, first, last txn.ID, bytesMax int) (f record.Frame, err error) {
	s.set(func() {
		if err = s.down; err != nil {
			return
		}
		if int(last) >= len(s.log) {
			err = errors.New("not here")
			return
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
