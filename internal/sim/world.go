package sim

import (
	"fmt"
	"math/bits"
	"math/rand/v2"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// world is one partition with all who have to do with it.
type world struct {
	setup
	trace    trace
	register register
	storages []*storage
	servers  []*server
	clients  []*client
	tenures  []*tenure

	flight []*packet // under way, the oldest first
	past   [64]*packet
	passed int
	cut    [serversMax + 1][storagesMax + 1]bool // no message passes between
	slow   uint16                                // whose messages wait: storages, then servers

	truth     []*rec // committed, as any server ever knew it
	lastTaken [locks]txn.ID
	written   map[place]*rec // every record ever made
	newest    *storage       // who answered last
	newestBy  *server        // who was answered last

	votes            []vote // scratch
	messages, faults int
	numbers          uint64 // incarnations, starts and requests so far
	generation       int64
	closed           bool          // in the end too many disks were lost
	calm             bool          // mended: nothing breaks any more
	recovered        txn.SessionID // claimed by the last forced recovery
	age              int           // forced recoveries so far
	learners         Learners
}

const (
	storagesMax = 7
	serversMax  = 3
)

// place names a record.
type place struct {
	id    txn.ID
	stamp txn.SessionID
}

// rec is a transaction as a session wrote it: one for ever, shared by all who
// hold it. What is held is compared by pointer.
type rec struct {
	id      txn.ID
	stamp   txn.SessionID
	prev    *rec
	frame   []byte
	try     *attempt
	durable uint16 // storages on whose disk it has been
}

func newWorld(s setup, words bool) *world {
	w := &world{setup: s, written: make(map[place]*rec, 128)}
	w.trace = trace{hash: hashStart, words: words}
	for i := range s.storages {
		w.storages = append(w.storages, newStorage(w, i))
	}
	for i := range s.servers {
		w.servers = append(w.servers, &server{w: w, index: i})
	}
	for i := range s.clients {
		w.clients = append(w.clients, &client{w: w, index: i, hwm: txn.None})
	}
	for i := range w.lastTaken {
		w.lastTaken[i] = txn.None
	}
	if s.twins {
		w.storages[s.storages-1].process = w.storages[int(s.target)%(s.storages-1)].process
	}
	w.register.m.Target = w.drawTarget(s.target, s.target>>4)
	if n := len(w.register.m.Target); s.learners && n == s.storages {
		w.register.m.Target = w.register.m.Target[:n-1-int(s.target>>9)%(n-1)]
	}
	w.remark(func() string {
		return fmt.Sprintf("seed %d: %d storages, %d servers, target %v", s.seed, s.storages, s.servers, w.register.m.Target)
	})
	w.servers[0].open()
	return w
}

func (w *world) number() uint64 {
	w.numbers++
	return w.numbers
}

// drawTarget makes a set of storages of two numbers.
func (w *world) drawTarget(a, b uint16) []string {
	sizes := []int{3, 3, 3, 3, 5, 5, 1, 2, 4, 7, 6}
	n := min(sizes[int(a)%len(sizes)], len(w.storages))
	rnd := rand.New(rand.NewPCG(uint64(b), 7))
	var names []string
	for _, i := range rnd.Perm(len(w.storages))[:n] {
		names = append(names, w.storages[i].name)
	}
	return names
}

// storage returns a storage by its name, s1 and up.
func (w *world) storage(name string) *storage { return w.storages[name[1]-'1'] }

// act does one action.
func (w *world) act(a action) {
	w.trace.add(uint64(a.op)<<32 | uint64(a.a)<<16 | uint64(a.b))
	switch a.op {
	case opDeliver:
		for i := range 1 + a.b%6 {
			w.deliverSome(a.a + i*7919)
		}
	case opSync:
		w.storages[int(a.a)%len(w.storages)].sync(a.b)
	case opSubmit:
		w.clients[int(a.a)%len(w.clients)].submit(a.b)
	case opSubscribe:
		w.clients[int(a.a)%len(w.clients)].subscribe(int(a.b))
	case opOpen:
		w.servers[int(a.a)%len(w.servers)].openAnew(a.b%8 == 0)
	case opConfirm:
		w.servers[int(a.a)%len(w.servers)].confirm()
	default:
		if w.fault(a) {
			w.faults++
		}
	}
	w.checkRecoverable()
}

// eligible reports whether a storage's disk would count in a choice now: it is
// the one that M remembers, and not behind what M says it installed.
func (w *world) eligible(m session.Member) bool {
	s := w.storage(m.Storage)
	return s.disk.state.Self.Incarnation == m.Incarnation && s.disk.state.Installed >= m.Installed
}

// survivors counts the members that would count in a choice, without one.
func (w *world) survivors(without *storage) int {
	var have uint16
	for _, m := range w.register.m.Members {
		if s := w.storage(m.Storage); (without == nil || s.process != without.process) && w.eligible(m) {
			have |= s.bit
		}
	}
	return bits.OnesCount16(have)
}
