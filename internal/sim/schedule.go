package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// op is a kind of action.
type op uint8

const (
	opDeliver   op = iota // some messages arrive
	opSync                // a storage's disk syncs
	opSubmit              // a client appends
	opSubscribe           // a client subscribes, or anew
	opOpen                // a server begins a session
	opConfirm             // a client asks for the end of the log
	opCrash               // from here on: faults
	opWipe
	opBackup
	opRestore
	opLose
	opRepeat
	opTimeout
	opSplit
	opMend
	opSlow
	opBreak
	opTarget
	opServerCrash
	opAssign
	opStrand
	opRelapse
	opEcho
	opGhost
	opLearner
	opRecover
	ops
)

const firstFault = opCrash

func (o op) String() string {
	return strings.Fields("deliver sync submit subscribe open confirm crash wipe backup restore lose repeat timeout split mend slow break target servercrash assign strand relapse echo ghost learner recover")[o]
}

// action is one thing that happens. The operands are read modulo whatever they
// choose from, so every action means something in every state.
type action struct {
	op   op
	a, b uint16
}

func (a action) String() string { return fmt.Sprintf("%s %d %d", a.op, a.a, a.b) }

// setup is what a schedule begins with.
type setup struct {
	seed     uint64
	storages int
	servers  int
	clients  int
	window   int  // transactions that lock table and request window remember
	length   int  // actions at least
	disaster bool // disks are put back unseen; less can be demanded
	keep     bool // newcomers are copied to before a session opens on them
	learners bool // much is done to them
	forced   bool // an operator gives up majorities that are lost
	twins    bool // two storages' names lead to one process
	reckless bool // more disks are lost than a session needs to open
	target   uint16
	weights  [ops]int
	total    int // of all weights
	quiet    int // of those that are no faults
}

// The least that a schedule must have gone through.
const (
	messagesMin = 500
	faultsMin   = 3
	actionsMax  = 20000
)

// ordinary weights what goes on without faults.
var ordinary = [ops]int{opDeliver: 520, opSync: 150, opSubmit: 110, opSubscribe: 12, opOpen: 5, opConfirm: 16}

// trouble weights the faults; a schedule leaves out about a third of them, and
// exaggerates some, so that schedules differ in kind.
var trouble = [ops]int{
	opCrash: 22, opWipe: 6, opBackup: 6, opRestore: 5, opLose: 22, opRepeat: 24, opTimeout: 12, opSplit: 10, opMend: 6,
	opSlow: 16, opBreak: 10, opTarget: 5, opServerCrash: 6, opAssign: 1, opStrand: 60, opRelapse: 10, opEcho: 10, opGhost: 6, opLearner: 20,
}

// drawSetup derives a schedule's beginning from its seed.
func drawSetup(seed uint64, rnd *rand.Rand) setup {
	s := setup{
		seed:     seed,
		storages: []int{3, 3, 3, 3, 3, 4, 5, 5, 6, 7}[rnd.IntN(10)],
		servers:  []int{1, 2, 2, 2, 3, 3}[rnd.IntN(6)],
		clients:  1 + rnd.IntN(3),
		window:   []int{16, 16, 32, 64}[rnd.IntN(4)],
		length:   400 + rnd.IntN(1200),
		disaster: rnd.IntN(30) == 0,
		reckless: rnd.IntN(25) == 0,
		keep:     rnd.IntN(3) > 0,
		learners: rnd.IntN(3) == 0,
		forced:   rnd.IntN(20) == 0,
		twins:    rnd.IntN(25) == 0,
		target:   uint16(rnd.Uint32()),
		weights:  ordinary,
	}
	often := []int{1, 1, 2, 4, 8}[rnd.IntN(5)]
	for o := range firstFault {
		s.weights[o] *= 8
	}
	for o := firstFault; o < ops; o++ {
		s.weights[o] = often * trouble[o] * []int{0, 0, 1, 1, 1, 3}[rnd.IntN(6)]
	}
	if s.learners {
		s.storages = max(s.storages, 4)
		s.weights[opLearner], s.weights[opTarget] = often*150, often*10
	}
	if s.forced {
		s.disaster, s.reckless = false, true
		s.weights[opRecover] = often * 200
	}
	if s.disaster {
		s.weights[opBackup], s.weights[opRestore] = 80, 80
	}
	s.weights[opDeliver] = s.weights[opDeliver] * (3 + rnd.IntN(8)) / 4
	s.weights[opSync] = s.weights[opSync] * (1 + rnd.IntN(4)) / 3
	for o, n := range s.weights {
		s.total += n
		if op(o) < firstFault {
			s.quiet += n
		}
	}
	return s
}

// phase is how many actions trouble and quiet last: in one phase of three nothing
// breaks, so that there is something to break in the next.
const phase = 90

// draw takes the i-th action from the schedule's source of chance.
func (s *setup) draw(i int, rnd *rand.Rand) action {
	r := rnd.Uint64()
	if i%phase == 0 && i/phase%3 == 0 {
		return action{op: opMend}
	}
	total := s.total
	if i/phase%3 == 0 {
		total = s.quiet
	}
	n := int(r>>32) % total
	o := op(0)
	for n >= s.weights[o] {
		n -= s.weights[o]
		o++
	}
	return action{op: o, a: uint16(r), b: uint16(r >> 16)}
}
