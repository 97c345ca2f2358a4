package history

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
)

// Check holds the history against every rule. The error is [Violations].
func (h *History) Check() error {
	c := checker{History: h, at: make(map[string]place), known: make(map[string]*Op, len(h.Ops))}
	c.index()
	for _, p := range slices.Sorted(maps.Keys(h.Logs)) {
		c.log(p)
		c.realTime(p)
		c.serializable(p)
	}
	for i := range h.Ops {
		c.answer(&h.Ops[i])
	}
	for i := range h.Feeds {
		c.feed(&h.Feeds[i])
	}
	c.looks()
	if len(c.found) > 0 {
		return c.found
	}
	return nil
}

// place is where in the log an op was found.
type place struct {
	partition txn.Partition
	id        txn.ID
}

type checker struct {
	*History
	known map[string]*Op   // ops by name
	at    map[string]place // first place in the log, by name
	found Violations
}

func (c *checker) breach(rule Rule, p txn.Partition, id txn.ID, format string, args ...any) {
	c.found = append(c.found, Violation{Rule: rule, Partition: p, ID: id, Detail: fmt.Sprintf(format, args...)})
}

func (c *checker) index() {
	for i := range c.Ops {
		o := &c.Ops[i]
		if _, twice := c.known[o.Name]; twice {
			c.breach(Once, o.Partition, o.ID, "two ops are named %q: the recorder is broken", o.Name)
		}
		c.known[o.Name] = o
	}
}

// log checks one partition's log by itself and against the ops (I2, I4, foreign).
func (c *checker) log(p txn.Partition) {
	for i := range c.Logs[p] {
		e := &c.Logs[p][i]
		if e.ID != txn.ID(i) {
			c.breach(Dense, p, e.ID, "is at position %d", i)
		}
		if i > 0 && e.Time < c.Logs[p][i-1].Time {
			c.breach(Dense, p, e.ID, "timestamp %d follows %d", e.Time, c.Logs[p][i-1].Time)
		}
		name := NameOf(e.Data)
		if first, twice := c.at[name]; twice {
			c.breach(Once, p, e.ID, "%q was committed before, in partition %d as %d", name, first.partition, first.id)
			continue
		}
		c.at[name] = place{partition: p, id: txn.ID(i)}
		if o := c.known[name]; o == nil || o.Partition != p {
			c.breach(Foreign, p, e.ID, "nobody appended %q here", name)
		} else if !o.wrote(e) {
			c.breach(Durable, p, e.ID, "header, key or data are not what %q appended", name)
		}
	}
}

func (o *Op) wrote(e *Entry) bool {
	return o.Header == e.Header && o.Key == e.Key && bytes.Equal(o.Data, e.Data)
}

// op returns the op that wrote a transaction, nil if there is none.
func (c *checker) op(p txn.Partition, id txn.ID) *Op {
	if id < 0 || int(id) >= len(c.Logs[p]) {
		return nil
	}
	if o := c.known[NameOf(c.Logs[p][id].Data)]; o != nil && o.Partition == p {
		return o
	}
	return nil
}

// realTime walks a log backwards: no transaction may have begun after one with
// a higher ID had returned. An op whose answer was lost never returned.
func (c *checker) realTime(p txn.Partition) {
	var earliest *Op // to return, of those above
	for id := txn.ID(len(c.Logs[p]) - 1); id >= 0; id-- {
		o := c.op(p, id)
		if o == nil {
			continue
		}
		if earliest != nil && earliest.Returned < o.Invoked {
			c.breach(RealTime, p, id, "%q began after %q had returned, which has the higher ID %d", o.Name, earliest.Name, earliest.ID)
		}
		if o.Outcome == Committed && (earliest == nil || o.Returned < earliest.Returned) {
			earliest = o
		}
	}
}

// serializable replays the marks in the order of the log (I5).
func (c *checker) serializable(p txn.Partition) {
	last := make(map[lock]txn.ID)
	for i := range c.Logs[p] {
		id := txn.ID(i)
		o := c.op(p, id)
		if o == nil {
			continue
		}
		if o.Mark >= id {
			c.breach(Serializable, p, id, "%q was computed from a view at %d, which is not before it", o.Name, o.Mark)
		}
		for _, l := range o.checks() {
			if by, marked := last[l]; marked && by > o.Mark {
				c.breach(Serializable, p, id, "%q was computed at %d, but %d had taken lock %s", o.Name, o.Mark, by, l)
			}
		}
		for _, l := range o.marks() {
			last[l] = id
		}
	}
}

func (l lock) String() string {
	if l.key != "" {
		return fmt.Sprintf("of key %q", l.key)
	}
	return fmt.Sprintf("%016x", uint64(l.hash))
}
