package storage_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// model is what a storage was told and what it answered: of each partition the
// list of steps in the order in which they were given. A storage that is found
// after a crash must be as some prefix of it left it, at least as long as what was
// answered and at most as long as what was given: acknowledged ⊆ recovered ⊆
// written (I1), dense and byte for byte (I2), promises kept (I3).
type model struct {
	mu         sync.Mutex
	partitions []*history
	epoch      int // of the storage that is asked; answers of earlier ones don't count
	notes      []string
}

// note remembers what was done, to be told with what is found wrong.
func (m *model) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notes = append(m.notes, fmt.Sprintf(format, args...))
}

type history struct {
	steps    []change
	answered int
	self     session.Incarnation
}

// place is a step's place in the history.
type place struct{ partition, index, epoch int }

// change is one step: a function of the replica's state.
type change struct {
	name  string
	apply func(*logState)
}

// logState is a replica, kept naively.
type logState struct {
	exists              bool
	promised, installed txn.SessionID
	committed           txn.ID
	records             [][]byte
	stamps              []txn.SessionID
}

func (s *logState) last() txn.ID { return txn.ID(len(s.records)) - 1 }

func newModel(partitions int) *model {
	m := &model{}
	for range partitions {
		m.partitions = append(m.partitions, &history{})
	}
	return m
}

// given adds a step that is about to be given to the storage.
func (m *model) given(p int, c change) place {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.partitions[p]
	h.steps = append(h.steps, c)
	return place{p, len(h.steps) - 1, m.epoch}
}

// answered says that a step, and with it all before it, was answered.
func (m *model) answered(at place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h := m.partitions[at.partition]; at.epoch == m.epoch {
		h.answered = max(h.answered, at.index+1)
	}
}

// refused takes back a partition's newest step: the storage has not taken it.
func (m *model) refused(at place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.partitions[at.partition]
	h.steps = h.steps[:at.index:at.index] // images have the slice as it was
}

// mute makes what the storage answers from now on not count: it is about to be
// killed, and what it does meanwhile is not on the disk that will be looked at.
func (m *model) mute() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
}

// found makes a partition's history what was found on the disk.
func (m *model) found(p, steps int, self session.Incarnation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.partitions[p]
	h.steps, h.answered, h.self = h.steps[:steps:steps], steps, self
}

// cut is how far the histories were at a moment.
type cut struct {
	answered []int
	given    [][]change
	notes    []string
}

// now returns how far the histories are; what was given may go further since.
func (m *model) now() (c cut) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.partitions {
		c.answered, c.given = append(c.answered, h.answered), append(c.given, slices.Clip(h.steps))
	}
	c.notes = slices.Clip(m.notes)
	return c
}

// after returns a partition's state after some steps.
func after(steps []change) *logState {
	s := &logState{committed: txn.None}
	for _, c := range steps {
		c.apply(s)
	}
	return s
}

// The steps.

func stepCreate() change {
	return change{name: "create", apply: func(s *logState) { s.exists = true }}
}

func stepPromise(number txn.SessionID) change {
	return change{name: fmt.Sprint("promise ", number), apply: func(s *logState) { s.promised = max(s.promised, number) }}
}

func stepInstall(number txn.SessionID) change {
	return change{name: fmt.Sprint("install ", number), apply: func(s *logState) { s.installed = max(s.installed, number) }}
}

func stepTruncate(last txn.ID) change {
	return change{name: fmt.Sprint("truncate ", last), apply: func(s *logState) {
		s.records, s.stamps = s.records[:last+1:last+1], s.stamps[:last+1:last+1]
	}}
}

func stepRecords(f record.Frame, committed txn.ID) change {
	f = bytes.Clone(f)
	return change{name: fmt.Sprint("records from ", f.TrustedID()), apply: func(s *logState) {
		for rest := f; len(rest) > 0; rest = rest[rest.TrustedLen():] {
			s.records = append(s.records, rest[:rest.TrustedLen()])
		}
		for r := range f.Trusted() {
			s.stamps = append(s.stamps, r.Stamp)
		}
		s.committed = max(s.committed, min(committed, s.last()))
	}}
}

// same says how a replica differs from a state; empty if it does not.
func (s *logState) same(p session.Promise, log record.Frame) string {
	switch {
	case p.Promised != s.promised || p.Installed != s.installed || p.Last != s.last() || p.Committed != s.committed:
		return fmt.Sprintf("has promised %d, installed %d, last %d, committed %d; model %d, %d, %d, %d",
			p.Promised, p.Installed, p.Last, p.Committed, s.promised, s.installed, s.last(), s.committed)
	case !bytes.Equal(log, bytes.Join(s.records, nil)):
		return fmt.Sprintf("has another log up to %d", p.Last)
	}
	for id, stamp := range s.stamps {
		if session.Map(p.Map).StampAt(txn.ID(id)) != stamp {
			return fmt.Sprintf("has another stamp at %d", id)
		}
	}
	return ""
}
