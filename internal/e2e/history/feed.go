package history

import (
	"bytes"
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
)

// feed holds what a subscriber got against the log (I6): the same transactions
// in the same order, none missing but those it did not want the data of.
func (c *checker) feed(f *Feed) {
	next := f.Mark + 1
	for i := range f.Entries {
		e := &f.Entries[i]
		if e.ID < next {
			c.breach(Complete, f.Partition, e.ID, "%s was given it after %d", f.Client, next-1)
			continue
		}
		c.skipped(f, next, e.ID-1)
		c.same(f, e)
		next = e.ID + 1
	}
	c.skipped(f, next, f.HighWaterMark)
	if end := txn.ID(len(c.Logs[f.Partition]) - 1); f.HighWaterMark > end {
		c.breach(Complete, f.Partition, f.HighWaterMark, "%s was told of it, but the log ends at %d", f.Client, end)
	}
	if f.HighWaterMark < next-1 {
		c.breach(Complete, f.Partition, f.HighWaterMark, "%s was given more than its mark says, up to %d", f.Client, next-1)
	}
}

// skipped says that a feed was not given first..last, which is right only for
// headers that it did not ask for.
func (c *checker) skipped(f *Feed, first, last txn.ID) {
	log := c.Logs[f.Partition]
	for id := first; id <= min(last, txn.ID(len(log)-1)); id++ {
		if f.wants(log[id].Header) {
			c.breach(Complete, f.Partition, id, "%s was not given it", f.Client)
			return
		}
	}
}

func (f *Feed) wants(h txn.Header) bool { return f.Headers == nil || slices.Contains(f.Headers, h) }

func (c *checker) same(f *Feed, e *Entry) {
	log := c.Logs[f.Partition]
	if int(e.ID) >= len(log) {
		c.breach(Complete, f.Partition, e.ID, "%s was given it, but it is not in the log", f.Client)
		return
	}
	l := &log[e.ID]
	switch {
	case e.Header != l.Header || e.Time != l.Time || e.Key != l.Key:
		c.breach(Complete, f.Partition, e.ID, "%s was given another header, time or key than the log has", f.Client)
	case e.Skipped && f.wants(l.Header):
		c.breach(Complete, f.Partition, e.ID, "%s was given no data", f.Client)
	case !e.Skipped && !bytes.Equal(e.Data, l.Data):
		c.breach(Complete, f.Partition, e.ID, "%s was given other data than the log has", f.Client)
	}
}
