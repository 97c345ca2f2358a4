package applier

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/waltz-log/waltz/applier/internal/guard"
	"github.com/waltz-log/waltz/waltz"
)

// memory is the naive twin of a database: rows and effects in maps, an SQL
// transaction is a copy.
type memory struct {
	mu    sync.Mutex
	rows  map[waltz.Partition]Row
	state effects
	trap  func(*Step[*memoryTx]) fate // nil: all goes well
}

// fate is what the test does to a step.
type fate int

const (
	well      fate = iota
	fails          // trouble that passes
	lost           // the request to commit is lost
	unheard        // the answer is lost
	overtaken      // another instance does the same step first
)

// effects is what the view consists of.
type effects struct {
	applied map[waltz.Partition][]waltz.ID
	keys    map[waltz.Partition]map[string]waltz.ID
	dead    map[waltz.Partition][]waltz.ID
}

type memoryTx struct {
	g       guard.Guard
	applied []waltz.ID
}

var (
	errMemory  = errors.New("memory's own")
	errPoison  = errors.New("poison")
	errUnheard = WithClass(ClassUnknown, errMemory)
)

func newMemory() *memory {
	return &memory{rows: make(map[waltz.Partition]Row), state: effects{
		make(map[waltz.Partition][]waltz.ID), make(map[waltz.Partition]map[string]waltz.ID), make(map[waltz.Partition][]waltz.ID),
	}}
}

func (t *memoryTx) apply(id waltz.ID, poison bool) error {
	if err := t.g.Open(); err != nil {
		return err
	}
	if poison {
		return t.g.Fail(errPoison)
	}
	t.applied = append(t.applied, id)
	return nil
}

func (m *memory) Load(_ context.Context, v Identity, partitions int) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []Row
	for p := range waltz.Partition(partitions) {
		if _, ok := m.rows[p]; !ok {
			m.rows[p] = Row{Ref: Ref{v, int64(p), p}, HighWaterMark: waltz.None, FirstDead: waltz.None}
		}
		rows = append(rows, m.rows[p])
	}
	return rows, nil
}

func (m *memory) Read(_ context.Context, r Ref) (Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows[r.Partition], nil
}

func (m *memory) Apply(ctx context.Context, s *Step[*memoryTx]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := well
	if m.trap != nil {
		f = m.trap(s)
	}
	switch f {
	case fails:
		return WithClass(ClassRetry, errMemory)
	case lost:
		return errUnheard
	case overtaken:
		if err := m.applyLocked(ctx, s); err != nil {
			return err
		}
	}
	err := m.applyLocked(ctx, s)
	if err == nil && f == unheard {
		return errUnheard
	}
	return err
}

func (m *memory) applyLocked(ctx context.Context, s *Step[*memoryTx]) error {
	row := m.rows[s.Partition]
	if row.HighWaterMark != s.Old || row.Epoch != s.Epoch {
		return ErrLost
	}
	tx := &memoryTx{}
	if err := tx.g.End(s.Work(ctx, tx)); err != nil {
		return err
	}
	row.HighWaterMark = s.New
	m.state.applied[s.Partition] = append(m.state.applied[s.Partition], tx.applied...)
	if m.state.keys[s.Partition] == nil {
		m.state.keys[s.Partition] = make(map[string]waltz.ID)
	}
	for _, k := range s.Keys {
		if _, taken := m.state.keys[s.Partition][k.Key]; !taken {
			m.state.keys[s.Partition][k.Key] = k.ID
		}
	}
	for _, l := range s.Letters {
		m.state.dead[s.Partition] = append(m.state.dead[s.Partition], l.ID)
		row.Dead++
	}
	m.rows[s.Partition] = row
	return nil
}

func (m *memory) Snapshot(ctx context.Context, r Ref, read func(context.Context, *effects, waltz.ID) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return read(ctx, &m.state, m.rows[r.Partition].HighWaterMark)
}

func (m *memory) Key(_ context.Context, s *effects, r Ref, key string) (waltz.ID, bool, error) {
	id, ok := s.keys[r.Partition][key]
	return id, ok, nil
}

func (m *memory) Acquire(_ context.Context, r Ref, owner string, _ time.Duration) (Row, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	row := m.rows[r.Partition]
	row.Owner = owner
	m.rows[r.Partition] = row
	return row, true, nil
}

func (m *memory) Note(context.Context, Ref, int64, string, string) error { return nil }

func (m *memory) DeadSince(context.Context, Identity, time.Duration) (int, error) { return 0, nil }

func (m *memory) Rows(context.Context, string) ([]Row, error) { return nil, nil }

func (m *memory) List(context.Context, Ref, LetterQuery) ([]Letter, error) { return nil, nil }

func (m *memory) Ask(context.Context, Ref, waltz.ID, waltz.ID, string) (int, error) { return 0, nil }

func (m *memory) Discard(context.Context, Ref, waltz.ID, string, string) (bool, error) {
	return false, nil
}

func (m *memory) Failed(context.Context, Ref, int64, Letter) error { return nil }

func (m *memory) Fault(err error) (Fault, bool) {
	return Fault{Class: ClassData, Code: "memory"}, errors.Is(err, errMemory)
}

func (m *memory) Close() error { return nil }
