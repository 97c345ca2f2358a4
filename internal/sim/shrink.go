package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Transcript shrinks a schedule that failed and tells what is left of it, in
// words: what broke, and everything that happened before.
func (r *Result) Transcript() string {
	small := r.shrink()
	again, lines := replay(small.setup, small.actions, true)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, shrunk from %d actions to %d (%d messages, %d faults), hash %016x\n",
		r.Seed, len(r.actions), len(small.actions), again.Messages, again.Faults, again.Hash)
	for _, line := range lines {
		b.WriteString(line + "\n")
	}
	fmt.Fprintf(&b, "%v\n", again.Err)
	return b.String()
}

// Words tells everything that happens in the schedule of a seed.
func (r *Result) Words() []string {
	_, lines := replay(r.setup, r.actions, true)
	return lines
}

// shrink leaves out actions for as long as the same rule is broken: halves,
// quarters and so on down to single ones, over and over, and then makes the
// operands of the rest as plain as they can be.
func (r *Result) shrink() *Result {
	best := r
	try := func(actions []action) bool {
		if again, _ := replay(r.setup, actions, false); sameRule(again.Err, r.Err) {
			best = &Result{Seed: r.Seed, setup: r.setup, actions: actions[:min(again.Steps, len(actions))], Err: again.Err}
			return true
		}
		return false
	}
	try(r.actions[:r.Steps])
	for before := -1; before != len(best.actions); {
		before = len(best.actions)
		for size := max(1, len(best.actions)/2); size > 0; size /= 2 {
			for at := 0; at < len(best.actions); {
				if !try(slices.Delete(slices.Clone(best.actions), at, min(at+size, len(best.actions)))) {
					at += size
				}
			}
		}
	}
	for i := 0; i < len(best.actions); i++ {
		for _, plain := range []action{{op: best.actions[i].op}, {op: best.actions[i].op, a: best.actions[i].a}, {op: best.actions[i].op, a: 4 * uint16(i%8)}} {
			simpler := slices.Clone(best.actions)
			simpler[i] = plain
			if simpler[i] != best.actions[i] && try(simpler) {
				break
			}
		}
	}
	return best
}

func sameRule(a, b error) bool {
	var x, y violation
	return errors.As(a, &x) && errors.As(b, &y) && x.rule == y.rule
}
