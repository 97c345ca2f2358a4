package applier

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz"
)

// quarantine is the view keys of letters that are open: what changes one of them
// has to wait. It holds hashes: two keys with one hash can hold a transaction
// needlessly, never let one pass.
type quarantine struct {
	seed maphash.Seed
	keys map[uint64]struct{}
	held int // letters that are held
}

func newQuarantine() *quarantine {
	return &quarantine{seed: maphash.MakeSeed(), keys: make(map[uint64]struct{})}
}

func (q *quarantine) add(keys []string) {
	for _, k := range keys {
		q.keys[maphash.String(q.seed, k)] = struct{}{}
	}
}

// blocks reports whether one of the keys is in quarantine.
func (q *quarantine) blocks(keys []string) bool {
	if len(q.keys) == 0 {
		return false
	}
	for _, k := range keys {
		if _, in := q.keys[maphash.String(q.seed, k)]; in {
			return true
		}
	}
	return false
}

// encodeKeys makes the text that stands in the database.
func encodeKeys(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	text, _ := json.Marshal(keys) // strings can't fail
	return string(text)
}

// decodeKeys reads it.
func decodeKeys(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	var keys []string
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		return nil, fmt.Errorf("view keys %q are no JSON array of strings: %w", text, err)
	}
	return keys, nil
}

// keysChanged returns the view keys of an item, as they are after having been in the
// database: valid UTF-8, sorted, each once.
func (b *batch[Tx]) keysChanged(item int) (keys []string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{v, debug.Stack()}
		}
	}()
	for _, c := range b.calls[b.items[item].calls:b.callsFrom(item+1)] {
		if named := b.handlers[c.handler].keys; named != nil {
			keys = append(keys, named(b.buckets[c.handler], int(c.record))...)
		}
	}
	for i := range keys {
		keys[i] = strings.ToValidUTF8(keys[i], "\uFFFD")
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// passing is what becomes of items that a step does not apply.
type passing struct {
	letters []Letter
	keys    [][]string // of each letter
	skipped int
}

// items is how many items are passed.
func (s *passing) items() int { return len(s.letters) + s.skipped }

// hold finds what of a part has to wait behind a key in quarantine, and everything
// that has to wait behind that. The rest of the part may be applied before it, since
// it has no key in common with it. On an error it also says at which item.
func (b *batch[Tx]) hold(p part, q *quarantine, instance string) (pass passing, at int, err error) {
	if len(q.keys) == 0 && !b.holding {
		return pass, unknown, nil
	}
	b.holding = true
	behind := &quarantine{seed: q.seed, keys: make(map[uint64]struct{})}
	for i := p.from; i < p.to; i++ {
		keys, err := b.keysChanged(i)
		if err != nil {
			b.items[i].err = fmt.Errorf("name the keys: %w", err)
			return pass, i, b.items[i].err
		}
		held := q.blocks(keys) || behind.blocks(keys)
		for c := int(b.items[i].calls); c < b.callsFrom(i+1); c++ {
			b.calls[c].held = held
		}
		if !held {
			continue
		}
		if !mutant.On("quarantine-does-not-spread") {
			behind.add(keys)
		}
		c := b.items[i].c
		pass.letters = append(pass.letters, Letter{
			Committed: c, State: LetterHeld, Kind: b.kindOf(c.Header), ViewKeys: encodeKeys(keys), Instance: instance,
		})
		pass.keys = append(pass.keys, keys)
	}
	return pass, unknown, nil
}

// passed notes letters that are in the database now.
func (q *quarantine) passed(pass *passing) {
	for i := range pass.letters {
		q.add(pass.keys[i])
		if pass.letters[i].State == LetterHeld {
			q.held++
		}
	}
}

// exceeds reports whether there would be too much in quarantine.
func (q *quarantine) exceeds(limit int, pass *passing, view string, p waltz.Partition) error {
	held, keys := q.held, len(q.keys)
	for i := range pass.letters {
		if pass.letters[i].State == LetterHeld {
			held++
		}
		for _, k := range pass.keys[i] {
			if !q.blocks([]string{k}) {
				keys++
			}
		}
	}
	if len(pass.letters) > 0 && (held > limit || keys > limit) {
		return &QuarantineFullError{View: view, Partition: p, Held: held, Keys: keys, Max: limit}
	}
	return nil
}
