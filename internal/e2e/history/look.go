package history

import (
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
)

// looks checks every high-water mark that was asked for: not behind what had
// been acknowledged before the question, and not ahead of what had begun
// before the answer.
func (c *checker) looks() {
	known := make(map[txn.Partition]*acked)
	for p := range c.Logs {
		known[p] = c.acked(p)
	}
	for _, l := range c.Looks {
		if a := known[l.Partition]; a != nil {
			c.look(l, a)
		}
	}
}

func (c *checker) look(l Look, a *acked) {
	if l.Mark >= txn.ID(len(c.Logs[l.Partition])) {
		c.breach(RealTime, l.Partition, l.Mark, "%s was told of it, but the log has no such transaction", l.Client)
		return
	}
	if least := a.before(l.Invoked); l.Mark < least {
		c.breach(RealTime, l.Partition, least, "had been acknowledged when %s was told that the log ends at %d", l.Client, l.Mark)
	}
	if o := c.op(l.Partition, l.Mark); o != nil && o.Invoked > l.Returned {
		c.breach(RealTime, l.Partition, l.Mark, "%s was told of it before it began", l.Client)
	}
}

// acked tells the highest ID that had been acknowledged at any time.
type acked struct {
	times []int64  // of acknowledgements, ascending
	ids   []txn.ID // the highest up to that one
}

func (c *checker) acked(p txn.Partition) *acked {
	var ops []*Op
	for i := range c.Ops {
		if o := &c.Ops[i]; o.Partition == p && o.Outcome == Committed {
			ops = append(ops, o)
		}
	}
	slices.SortFunc(ops, func(a, b *Op) int { return int(min(max(a.Returned-b.Returned, -1), 1)) })
	a, highest := &acked{}, txn.None
	for _, o := range ops {
		highest = max(highest, o.ID)
		a.times, a.ids = append(a.times, o.Returned), append(a.ids, highest)
	}
	return a
}

// before returns the highest ID that was acknowledged before t.
func (a *acked) before(t int64) txn.ID {
	n, _ := slices.BinarySearch(a.times, t)
	if n == 0 {
		return txn.None
	}
	return a.ids[n-1]
}
