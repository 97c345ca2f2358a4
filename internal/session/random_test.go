package session_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// TestRandomSchedules lets rival servers work on one partition while messages
// are delayed, repeated and lost, replicas restart and are wiped, members
// change and answers of the metadata are lost, and checks P1, P2 and P4 after
// every step, and P5 after healing. It is a small form of the simulator. A seed
// replays exactly: -run TestRandomSchedules/seed=17.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			c := newChaos(t, seed)
			for range steps {
				c.act()
				c.check()
			}
			c.heal()
		})
	}
}

const (
	seeds = 150
	steps = 500
)

// act does one random thing. Mostly messages arrive; faults are rarer.
func (c *chaos) act() {
	switch n := c.rnd.IntN(1000); {
	case n < 700:
		for range 1 + c.rnd.IntN(8) {
			c.deliver()
		}
	case n < 860:
		c.append()
	case n < 930:
		c.retry()
	case n < 945:
		c.repeat()
	case n < 955:
		c.lose()
	case n < 970:
		c.restart()
	case n < 980:
		c.open()
	case n < 992:
		c.wipe()
	case n < 996:
		c.target()
	default:
		c.step(c.rival(), session.Touched{})
	}
}

const storages = 5

type chaos struct {
	t         *testing.T
	rnd       *rand.Rand
	m         session.PartitionState
	version   int
	disks     []*disk
	servers   []*rival
	committed []txn.SessionID // stamp of every committed record, as any server was told
	highest   map[int][3]txn.SessionID
	prepared  []string // the target that a session last was near to
	wiped     int      // how many replicas were wiped so far; gives new incarnations
}

// rival is a server and its messages under way: each is a function that lets it
// arrive.
type rival struct {
	leader  *session.Leader
	version int
	flight  []message
	sent    []message // arrived once already
	links   map[string]session.Replica
	last    txn.ID
	ended   bool
	open    bool
}

// message is one under way: a request, or its answer. lost is what the server
// hears in the end if it is lost; nil: nothing.
type message struct{ arrive, lost func() }

func storageName(i int) string { return fmt.Sprintf("s%d", i+1) }

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), highest: map[int][3]txn.SessionID{}}
	for i := range storages {
		c.disks = append(c.disks, &disk{ReplicaState: session.NewReplicaState(0, session.Replica{Incarnation: session.Incarnation(i + 1), Start: 1})})
	}
	c.m.Target = c.drawTarget()
	c.open()
	return c
}

func (c *chaos) drawTarget() []string {
	n := []int{1, 3, 3, 3, 3, 5}[c.rnd.IntN(6)]
	var names []string
	for _, i := range c.rnd.Perm(storages)[:n] {
		names = append(names, storageName(i))
	}
	return names
}

func (c *chaos) disk(name string) *disk { return c.disks[int(name[1]-'1')] }

// rival picks a server, most often the newest, or nil.
func (c *chaos) rival() *rival {
	if c.rnd.IntN(10) < 6 {
		return c.servers[len(c.servers)-1]
	}
	return c.servers[max(0, len(c.servers)-1-c.rnd.IntN(3))]
}

func (c *chaos) open() {
	r := &rival{links: map[string]session.Replica{}}
	c.servers = append(c.servers, r)
	var out []session.Output
	r.leader, out = session.NewLeader(0, 0)
	if c.rnd.IntN(2) == 0 {
		r.leader.Keep(c.prepared)
	}
	c.do(r, out)
}

func (c *chaos) step(r *rival, e session.Event) {
	if !r.ended {
		c.do(r, slices.Clone(r.leader.Step(e)))
		if r.open {
			c.learn(r, r.leader.Committed())
		}
	}
}

func (c *chaos) do(r *rival, out []session.Output) {
	for _, o := range out {
		switch o := o.(type) {
		case session.Opened:
			r.open, r.last = true, o.High
			c.learn(r, o.High)
		case session.Ready:
			r.links[o.Storage] = o.Replica
			if o.Last < r.last { // what it is missing is sent to it
				c.sendAppend(r, o.Storage, o.Last+1, r.last)
			}
		case session.Unfit:
		case session.Switchable:
			c.prepared = o.Target
		case session.Ended:
			r.ended = true
		case session.ChangeM:
			version := r.version
			r.once(func() { c.compareAndSet(r, o.M, version) }, func() { c.step(r, session.NotChanged{}) })
		case session.LoadM:
			r.once(func() { c.load(r) }, nil)
		default:
			r.flight = append(r.flight, message{arrive: func() { c.arrive(r, o) }})
		}
	}
}

// once puts a call to the metadata, or its answer, under way. It is not
// repeated.
func (r *rival) once(f, lost func()) {
	done := false
	r.flight = append(r.flight, message{lost: lost, arrive: func() {
		if !done {
			done = true
			f()
		}
	}})
}

func (c *chaos) load(r *rival) {
	m, version := c.m.Clone(), c.version
	r.once(func() { r.version = version; c.step(r, session.Loaded{M: m}) }, nil)
}

// arrive lets a storage handle a message; its answer is a message too.
func (c *chaos) arrive(r *rival, o session.Output) {
	event, err := c.store(o)
	if err != nil {
		event = session.Failed{Storage: storageOf(o), Err: err}
	}
	r.answer(func() { c.step(r, event) })
}

func (r *rival) answer(f func()) { r.flight = append(r.flight, message{arrive: f}) }

func (c *chaos) compareAndSet(r *rival, m session.PartitionState, version int) {
	notChanged := func() { c.step(r, session.NotChanged{}) }
	if version != c.version {
		r.once(notChanged, notChanged)
		return
	}
	c.version++
	c.m, version = m, c.version
	r.once(func() { r.version = version; c.step(r, session.Changed{}) }, notChanged)
}

// store lets a storage handle a message.
func (c *chaos) store(o session.Output) (session.Event, error) {
	d := c.disk(storageOf(o))
	switch o := o.(type) {
	case session.SendOpen:
		_, err := d.CheckOpen(o.Message)
		if err != nil {
			return nil, err
		}
		d.ApplyPromise(o.Message.Session)
		return session.Promised{Storage: o.Storage, Promise: d.Promise()}, nil
	case session.SendTruncate:
		_, err := d.CheckTruncate(o.Message)
		if err != nil {
			return nil, err
		}
		d.ApplyTruncate(o.Message.Last)
		d.log = d.log[:d.Last+1]
		return session.Truncated{Storage: o.Storage, Replica: o.Message.Replica}, nil
	case session.SendCopy:
		return c.copyTo(d, o)
	case session.SendInstall:
		_, err := d.CheckInstall(o.Message)
		if err != nil {
			return nil, err
		}
		d.ApplyInstall(o.Message.Session)
		return session.Installed{Storage: o.Storage, Replica: o.Message.Replica}, nil
	}
	return nil, errors.New("not a message to a storage")
}

func (c *chaos) copyTo(d *disk, o session.SendCopy) (session.Event, error) {
	from := c.disk(o.From)
	if from.Last < o.Last {
		return nil, errors.New("the source has lost it")
	}
	m := o.Message
	m.Records = from.read(o.First, min(o.Last, o.First+2)) // small messages
	span, err := m.Records.Check()
	if err != nil {
		return nil, err
	}
	write, err := d.CheckCopy(&m, span)
	if err != nil {
		return nil, err
	}
	if write {
		d.add(m.Records)
	}
	return session.Copied{Storage: o.Storage, Replica: m.Replica, Last: span.Last}, nil
}

func (c *chaos) append() {
	r := c.rival()
	if !r.open || r.ended {
		return
	}
	first := r.last + 1
	last := first + txn.ID(c.rnd.IntN(3))
	require.NoError(c.t, r.leader.Append(first, last))
	r.last = last
	for i := range storages {
		c.sendAppend(r, storageName(i), first, last)
	}
}

// sendAppend sends records of the session as every holder of it has them. Older
// ones than its own are not sent this way.
func (c *chaos) sendAppend(r *rival, storage string, first, last txn.ID) {
	self, linked := r.links[storage]
	if !linked || first <= r.leader.High() {
		return
	}
	m := session.Append{
		Session: r.leader.Session(), Replica: self, PrevID: first - 1, PrevStamp: r.leader.StampAt(first - 1),
		Committed: r.leader.Committed(), Records: makeFrame(r.leader.Session(), first, last),
	}
	r.flight = append(r.flight, message{arrive: func() { c.arriveAppend(r, storage, m) }})
}

func (c *chaos) arriveAppend(r *rival, storage string, m session.Append) {
	d := c.disk(storage)
	span, _ := m.Records.Check()
	write, err := d.CheckAppend(&m, span)
	if err != nil {
		r.answer(func() {
			if r.links[storage] == m.Replica {
				delete(r.links, storage)
				c.step(r, session.Failed{Storage: storage, Err: err})
			}
		})
		return
	}
	if write {
		d.add(m.Records)
	}
	d.ApplyCommitted(m.Committed)
	a := session.Appended{Replica: d.Self, Last: d.Last}
	r.answer(func() {
		if r.ended {
			return
		}
		out := r.leader.Appended(storage, a)
		c.learn(r, r.leader.Committed())
		c.do(r, slices.Clone(out))
	})
}

// learn takes note of what a server holds for committed: nobody may ever hold
// another record there for committed (P1, P2, P6).
func (c *chaos) learn(r *rival, committed txn.ID) {
	for id := txn.ID(0); id <= committed; id++ {
		stamp := r.leader.StampAt(id)
		if int(id) == len(c.committed) {
			c.committed = append(c.committed, stamp)
		}
		if c.committed[id] != stamp {
			panic(fmt.Sprintf("P1: record %d was committed with stamp %d, session %d has %d", id, c.committed[id], r.leader.Session(), stamp))
		}
	}
	if r.leader.High() < txn.ID(len(c.committed))-1 && r.last < txn.ID(len(c.committed))-1 && c.m.Session == r.leader.Session() {
		panic(fmt.Sprintf("P1: session %d ends at %d, %d was committed", r.leader.Session(), r.last, len(c.committed)-1))
	}
}

// take removes one message under way; most often an old one.
func (c *chaos) take(r *rival) (m message, ok bool) {
	if len(r.flight) == 0 {
		return m, false
	}
	i := 0
	if c.rnd.IntN(4) == 0 {
		i = c.rnd.IntN(len(r.flight))
	}
	m = r.flight[i]
	r.flight = slices.Delete(r.flight, i, i+1)
	return m, true
}

func (c *chaos) deliver() {
	r := c.rival()
	if m, ok := c.take(r); ok {
		r.sent = append(r.sent, m)
		m.arrive()
	}
}

// lose drops a message or an answer. Of one to the metadata the server hears in
// the end that its outcome is unknown, else of a broken connection to a storage.
func (c *chaos) lose() {
	r := c.rival()
	m, ok := c.take(r)
	if !ok {
		return
	}
	if m.lost != nil {
		r.answer(m.lost)
		return
	}
	storage := storageName(c.rnd.IntN(storages))
	r.answer(func() {
		delete(r.links, storage)
		c.step(r, session.Failed{Storage: storage, Err: errors.New("connection lost")})
	})
}

func (c *chaos) repeat() {
	r := c.rival()
	if len(r.sent) == 0 {
		return
	}
	r.sent[c.rnd.IntN(len(r.sent))].arrive()
}

func (c *chaos) retry() {
	r := c.rival()
	c.step(r, session.Retry{Storage: storageName(c.rnd.IntN(storages))})
}

func (c *chaos) restart() {
	c.disks[c.rnd.IntN(storages)].Self.Start++
}

// wipe empties a disk if a majority of members keeps what M says it installed:
// more than that nobody survives.
func (c *chaos) wipe() {
	i := c.rnd.IntN(storages)
	if c.disks[i].Installed > c.m.Opened {
		return // a session that counts on it may be about to open
	}
	keep := 0
	for _, m := range c.m.Members {
		d := c.disk(m.Storage)
		if m.Storage != storageName(i) && m.Installed == c.m.Opened && d.Self.Incarnation == m.Incarnation && c.holdsCommitted(d) {
			keep++
		}
	}
	if len(c.m.Members) > 0 && keep < len(c.m.Members)/2+1 {
		return // would lose a majority
	}
	c.wiped++
	delete(c.highest, i)
	c.disks[i] = &disk{ReplicaState: session.NewReplicaState(0, session.Replica{Incarnation: session.Incarnation(100 + c.wiped), Start: 1})}
}

func (c *chaos) holdsCommitted(d *disk) bool { return d.Last >= txn.ID(len(c.committed))-1 }

func (c *chaos) target() {
	c.m.Target = c.drawTarget()
	c.version++
	if c.rnd.IntN(2) == 0 {
		c.step(c.rival(), session.Touched{})
	}
}

// check is P2 (what two replicas know to be committed is equal), and P4
// (nothing durable goes back).
func (c *chaos) check() {
	for i, d := range c.disks {
		require.NoError(c.t, d.Map.Check(d.Last))
		require.LessOrEqual(c.t, d.Committed, txn.ID(len(c.committed))-1)
		for id := txn.ID(0); id <= d.Committed; id++ {
			require.Equal(c.t, c.committed[id], d.Map.StampAt(id), "P2: storage %d record %d", i+1, id)
		}
		now := [3]txn.SessionID{d.Promised, d.Installed, txn.SessionID(d.Committed)}
		for k, before := range c.before(i) {
			require.LessOrEqual(c.t, before, now[k], "P4: storage %d", i+1)
		}
		c.highest[i] = now
	}
}

// before returns what storage i had promised, installed and known as committed.
func (c *chaos) before(i int) [3]txn.SessionID {
	if h, ok := c.highest[i]; ok {
		return h
	}
	return [3]txn.SessionID{0, 0, -1}
}

// heal delivers everything and demands progress: a session opens, holds all that
// was committed, and commits more (P1, P5).
func (c *chaos) heal() {
	for _, r := range c.servers {
		r.ended, r.flight = true, nil
	}
	for range 3 {
		c.open()
		r := c.servers[len(c.servers)-1]
		for len(r.flight) > 0 {
			m := r.flight[0]
			r.flight = r.flight[1:]
			m.arrive()
		}
		if !r.open || r.ended {
			continue
		}
		before := len(c.committed)
		require.GreaterOrEqual(c.t, r.last, txn.ID(before)-1, "P1")
		require.NoError(c.t, r.leader.Append(r.last+1, r.last+1))
		r.last++
		for i := range storages {
			c.sendAppend(r, storageName(i), r.last, r.last)
		}
		for len(r.flight) > 0 {
			m := r.flight[0]
			r.flight = r.flight[1:]
			m.arrive()
		}
		require.Equal(c.t, r.last, r.leader.Committed(), "P5")
		return
	}
	require.Fail(c.t, "P5: no session opens in a healthy cluster")
}
