package vfs

import (
	"io/fs"
	"path"
)

// Rule injects a failure into a Mem.
type Rule struct {
	Op    Op     // which operation; empty: all
	Match string // pattern of path.Match for the file's or folder's present base name; empty: all
	Skip  int    // how many matching calls succeed first
	Times int    // how many fail then; 0: all of them
	Err   error  // what they return, wrapped in an fs.PathError; required

	hits int
}

// Inject adds a rule. The first rule that matches a call decides. A call that
// fails by a rule has no effect, but that a failed sync makes bytes unsynced for good.
func (m *Mem) Inject(r Rule) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = append(m.rules, &r)
}

// ClearRules removes all rules.
func (m *Mem) ClearRules() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rules = nil
}

// injectedLocked counts a call and returns the error that a rule has for it.
func (m *Mem) injectedLocked(op Op, name string) error {
	m.counts[op]++
	for _, r := range m.rules {
		if !r.matches(op, name) {
			continue
		}
		r.hits++
		if r.hits > r.Skip && (r.Times == 0 || r.hits <= r.Skip+r.Times) {
			return &fs.PathError{Op: string(op), Path: name, Err: r.Err}
		}
	}
	return nil
}

func (r *Rule) matches(op Op, name string) bool {
	if r.Op != "" && r.Op != op {
		return false
	}
	if r.Match == "" {
		return true
	}
	ok, err := path.Match(r.Match, path.Base(name))
	return ok && err == nil
}
