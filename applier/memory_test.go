package applier

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/waltz-log/waltz/applier/internal/guard"
	"github.com/waltz-log/waltz/waltz"
)

// memory is the naive twin of a database: rows and effects in maps, an SQL
// transaction is a copy.
type memory struct {
	mu      sync.Mutex
	rows    map[waltz.Partition]Row
	letters map[waltz.Partition][]Letter // open, ascending
	state   effects
	trap    func(*Step[*memoryTx]) fate // nil: all goes well
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
	return &memory{rows: make(map[waltz.Partition]Row), letters: make(map[waltz.Partition][]Letter), state: effects{
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
	row := m.rows[r.Partition]
	row.Dead, row.Held, row.FirstDead = 0, 0, waltz.None
	for i := range m.letters[r.Partition] {
		row.count(&m.letters[r.Partition][i])
	}
	return row, nil
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
	if row.Epoch != s.Epoch || s.Retried == nil && row.HighWaterMark != s.Old {
		return ErrLost
	}
	for _, id := range s.Retried {
		if i := m.letterLocked(s.Partition, id); i < 0 || m.letters[s.Partition][i].State == LetterDead {
			return ErrLost
		}
	}
	tx := &memoryTx{}
	if err := tx.g.End(s.Work(ctx, tx)); err != nil {
		return err
	}
	for _, id := range s.Retried {
		i := m.letterLocked(s.Partition, id)
		m.letters[s.Partition] = slices.Delete(m.letters[s.Partition], i, i+1)
	}
	if s.Retried != nil {
		row.Epoch++
	} else {
		row.HighWaterMark = s.New
	}
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
		if l.State == LetterDead {
			m.state.dead[s.Partition] = append(m.state.dead[s.Partition], l.ID)
		}
		m.letters[s.Partition] = append(m.letters[s.Partition], l)
	}
	row.Meaning = s.Meaning
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

func (m *memory) letterLocked(p waltz.Partition, id waltz.ID) int {
	return slices.IndexFunc(m.letters[p], func(l Letter) bool { return l.ID == id })
}

func (m *memory) Rows(context.Context, string) ([]Row, error) { return nil, nil }

func (m *memory) List(_ context.Context, r Ref, q LetterQuery) (out []Letter, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.letters[r.Partition] {
		if l.ID > q.After && len(out) < q.Limit {
			if !q.Data {
				l.Data = nil
			}
			out = append(out, l)
		}
	}
	return out, nil
}

func (m *memory) Ask(_ context.Context, r Ref, first, last waltz.ID, _ string) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, l := range m.letters[r.Partition] {
		if l.ID >= first && l.ID <= last && l.State != LetterHeld {
			m.letters[r.Partition][i].State = LetterRetry
			n++
		}
	}
	m.raiseLocked(r.Partition, n > 0)
	return n, nil
}

func (m *memory) raiseLocked(p waltz.Partition, changed bool) {
	if changed {
		row := m.rows[p]
		row.Epoch++
		m.rows[p] = row
	}
}

func (m *memory) Discard(_ context.Context, r Ref, id waltz.ID, _, _ string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.letterLocked(r.Partition, id)
	if i >= 0 {
		m.letters[r.Partition] = slices.Delete(m.letters[r.Partition], i, i+1)
	}
	m.raiseLocked(r.Partition, i >= 0)
	return i >= 0, nil
}

func (m *memory) Failed(_ context.Context, r Ref, epoch int64, l Letter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows[r.Partition].Epoch != epoch {
		return ErrLost
	}
	if i := m.letterLocked(r.Partition, l.ID); i >= 0 {
		m.letters[r.Partition][i].State = LetterDead
	}
	return nil
}

func (m *memory) Fault(err error) (Fault, bool) {
	return Fault{Class: ClassData, Code: "memory"}, errors.Is(err, errMemory)
}

func (m *memory) Close() error { return nil }
