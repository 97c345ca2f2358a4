package partition

import (
	"sync"

	"github.com/waltz-log/waltz/internal/wire"
)

// doubter refuses attempts whose high-water mark is beyond the end of the log,
// which is final, once it is certain that it is the log's end: another server may
// have taken over, and committed what the client has seen, without our having
// heard of it. If so, or if it can't be known, they are to be sent again (I8). It
// works beside the owner, on all that wait at once.
type doubter struct {
	p *Partition

	mu      sync.Mutex
	waiting []doubt
	stopped bool
	busy    bool
	running sync.WaitGroup
}

// doubt is an attempt that waits to be refused.
type doubt struct {
	from Answerer
	seq  uint64
	why  *wire.Error // if we know the log
}

// add takes an attempt, or refuses it if too many wait (I9).
func (d *doubter) add(one doubt) *wire.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || len(d.waiting) >= d.p.o.SearchAttemptsMax {
		return wire.Refuse(wire.Unavailable, "partition %d is busy finding out where its log ends: send it again later", d.p.o.Partition)
	}
	d.waiting = append(d.waiting, one)
	if !d.busy {
		d.busy = true
		d.running.Go(d.run)
	}
	return nil
}

func (d *doubter) take() []doubt {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.waiting
	d.waiting = nil
	d.busy = len(got) > 0
	return got
}

func (d *doubter) run() {
	for batch := d.take(); len(batch) > 0; batch = d.take() {
		err := d.p.Confirm(d.p.ctx)
		for i := range batch {
			why := batch[i].why
			if err != nil {
				why = refusal(d.p.o.Partition, err)
			}
			d.p.counters.refused(why.Reason, 1)
			batch[i].from.Refused(batch[i].seq, *why)
		}
	}
}

// stop waits until all are answered; the partition's context has ended.
func (d *doubter) stop() {
	d.mu.Lock()
	d.stopped = true
	d.mu.Unlock()
	d.p.cancel()
	d.running.Wait()
}
