package sim

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"
)

// Result is what came of a schedule.
type Result struct {
	Seed     uint64
	Messages int
	Faults   int
	Steps    int    // actions before the healing
	Hash     uint64 // of everything that happened
	Learners Learners
	Forced   int   // recoveries by force
	Closed   bool  // no session could open in the end, since most disks were lost
	Err      error // the rule that was broken; nil if none was
	setup    setup
	actions  []action
}

// Run runs the schedule of a seed.
func Run(seed uint64) *Result {
	rnd := rand.New(rand.NewPCG(seed, 0x57616c747a))
	s := drawSetup(seed, rnd)
	r := &Result{Seed: seed, setup: s, actions: make([]action, 0, 2*s.length)}
	r.play(newRun(s, false), func(w *world) (action, bool) {
		enough := len(r.actions) >= s.length && w.messages >= messagesMin && w.faults >= faultsMin
		if enough || len(r.actions) >= actionsMax {
			return action{}, false
		}
		a := s.draw(len(r.actions), rnd)
		r.actions = append(r.actions, a)
		return a, true
	})
	return r
}

// replay runs a list of actions.
func replay(s setup, actions []action, words bool) (*Result, []string) {
	r := &Result{Seed: s.seed, setup: s, actions: actions}
	i, run := 0, newRun(s, words)
	r.play(run, func(*world) (action, bool) {
		if i == len(actions) {
			return action{}, false
		}
		i++
		return actions[i-1], true
	})
	return r, run.w.trace.lines
}

// play runs a world until next has no more actions, then heals it.
func (r *Result) play(run *running, next func(*world) (action, bool)) {
	defer func() {
		w := run.w
		if w != nil {
			r.Messages, r.Faults, r.Hash, r.Closed = w.messages, w.faults, w.trace.hash, w.closed
			r.Learners, r.Forced = w.learners, w.age
		}
		switch v := recover().(type) {
		case nil:
		case violation:
			r.Err = v
		default:
			r.Err = violation{"panic", fmt.Sprintf("%v\n%s", v, debug.Stack())}
		}
	}()
	run.start()
	for {
		a, ok := next(run.w)
		if !ok {
			break
		}
		r.Steps++
		run.w.act(a)
	}
	run.w.heal()
}

// running is a world that may fail before it is whole.
type running struct {
	setup setup
	words bool
	w     *world
}

func newRun(s setup, words bool) *running { return &running{setup: s, words: words} }

func (r *running) start() { r.w = newWorld(r.setup, r.words) }
