package partition

import (
	"sync/atomic"
	"time"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// reasonsMax is above every reason's number.
const reasonsMax = 16

// LatencyBounds are the upper bounds of the commit latency's histogram; a last
// bucket takes the rest.
var LatencyBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// Stats is a snapshot of a partition's counters, which only grow while the
// process runs, and gauges.
type Stats struct {
	Partition txn.Partition
	Open      bool
	Damaged   bool          // not open, and not going to be: all that a session needs is damaged
	Stalled   bool          // open, but nothing can be committed, since storages are full
	Session   txn.SessionID // the open one

	HighWaterMark txn.ID
	InFlight      int64 // transactions sequenced and not committed
	InboxBytes    int64
	Subscribers   int

	Sequenced, SequencedBytes uint64 // transactions, and bytes of their records
	Frames                    uint64
	Committed                 uint64 // transactions
	Duplicates                uint64 // attempts answered with an earlier one's answer
	Refused                   map[wire.Reason]uint64
	Searches                  uint64 // resends searched for in the log
	Opens, Losses             uint64 // of store sessions
	DamagedTails              uint64 // sessions opened on a log whose tail is damaged
	FedCachedBytes            uint64 // sent to subscribers from memory
	FedReadBytes              uint64 // sent to subscribers from storages

	Replicas Replicas // of the open session; the server fills it in

	CommitLatency      [len(LatencyBounds) + 1]uint64 // frames, from sequencing to commit
	CommitLatencyTotal time.Duration
}

// Replicas says how a partition's replicas do.
type Replicas struct {
	Counting    int    // take appends and count towards a majority
	CatchingUp  int    // take appends, and lack some that were sent to the others
	Away        int    // do not take part
	CopiedBytes uint64 // read and sent again to replicas that caught up in this session
	Each        []Replica
}

// Replica says how one of them does.
type Replica struct {
	Storage  string
	Away     bool  // it does not take part; what follows is unknown
	Counting bool  // towards a majority
	Lag      int64 // committed transactions that it has not answered
}

// counters are written by the owner, once per frame, and by subscriptions, once
// per message.
type counters struct {
	sequencedN, sequencedBytes, frames, committedN, duplicates atomic.Uint64
	searches, opens, losses, fedCached, fedRead, damagedTails  atomic.Uint64
	refusals                                                   [reasonsMax]atomic.Uint64
	latency                                                    [len(LatencyBounds) + 1]atomic.Uint64
	latencyTotal, inFlight                                     atomic.Int64
}

func (c *counters) sequenced(f *flight, inFlight int) {
	c.inFlight.Store(int64(inFlight))
	c.frames.Add(1)
	c.sequencedN.Add(uint64(f.last - f.first + 1))
	c.sequencedBytes.Add(uint64(len(f.frame)))
}

func (c *counters) committed(f *flight, inFlight int, now time.Time) {
	c.inFlight.Store(int64(inFlight))
	c.committedN.Add(uint64(f.last - f.first + 1))
	took, i := now.Sub(f.at), 0
	for i < len(LatencyBounds) && took > LatencyBounds[i] {
		i++
	}
	c.latency[i].Add(1)
	c.latencyTotal.Add(int64(took))
}

func (c *counters) waited(w *wait) {
	if w.refused != 0 {
		c.refused(w.refused, 1)
		return
	}
	c.duplicates.Add(1)
}

func (c *counters) refused(r wire.Reason, n int) {
	if r > 0 && r < reasonsMax {
		c.refusals[r].Add(uint64(n))
	}
}

// Fed implements feed.Stats.
func (p *Partition) Fed(bytes int, cached bool) {
	if cached {
		p.counters.fedCached.Add(uint64(bytes))
		return
	}
	p.counters.fedRead.Add(uint64(bytes))
}

// Stats returns a snapshot.
func (p *Partition) Stats() Stats {
	c := &p.counters
	s := Stats{
		Partition: p.o.Partition, InboxBytes: p.inbox.waiting(), Subscribers: p.o.Tail.Subscribers(),
		Committed: c.committedN.Load(), SequencedBytes: c.sequencedBytes.Load(), Frames: c.frames.Load(),
		Duplicates: c.duplicates.Load(), Searches: c.searches.Load(), Opens: c.opens.Load(), Losses: c.losses.Load(),
		DamagedTails:   c.damagedTails.Load(),
		FedCachedBytes: c.fedCached.Load(), FedReadBytes: c.fedRead.Load(),
		CommitLatencyTotal: time.Duration(c.latencyTotal.Load()), Refused: map[wire.Reason]uint64{},
	}
	s.HighWaterMark, s.Open = p.o.Tail.Committed()
	if ref := p.session.Load(); ref != nil {
		s.Session, s.Stalled = ref.ID(), p.stalled.Load()
	} else {
		s.Damaged = p.whyNot().damaged
	}
	s.Sequenced = c.sequencedN.Load()
	s.InFlight = c.inFlight.Load()
	for r := range c.refusals {
		if n := c.refusals[r].Load(); n > 0 {
			s.Refused[wire.Reason(r)] = n
		}
	}
	for i := range c.latency {
		s.CommitLatency[i] = c.latency[i].Load()
	}
	return s
}
