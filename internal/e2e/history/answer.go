package history

import (
	"slices"

	"github.com/waltz-log/waltz/internal/txn"
)

// answer checks what the caller was told (I1, I8).
func (c *checker) answer(o *Op) {
	where, in := c.at[o.Name]
	switch o.Outcome {
	case Unknown: // in the log or not; at most once was checked with the log
	case Committed:
		if !in || where.id != o.ID || where.partition != o.Partition {
			c.breach(Durable, o.Partition, o.ID, "%q was acknowledged, and is not there", o.Name)
		}
	case Conflict:
		c.conflict(o)
	case Stale:
		c.stale(o)
	case Refused:
	default:
		c.breach(Truthful, o.Partition, o.ID, "%q has the outcome %q, which does not exist", o.Name, o.Outcome)
	}
	if in && o.Outcome != Unknown && o.Outcome != Committed {
		c.breach(Truthful, o.Partition, where.id, "%q is committed, but its caller was told %s", o.Name, o.Outcome)
	}
}

// conflict: the cause is committed, above the mark, and took one of the locks.
func (c *checker) conflict(o *Op) {
	cause := c.op(o.Partition, o.ID)
	switch {
	case cause == nil:
		c.breach(Truthful, o.Partition, o.ID, "%q was refused because of it, but it is not in the log", o.Name)
	case o.ID <= o.Mark:
		c.breach(Truthful, o.Partition, o.ID, "%q was refused because of it, but had seen it: its mark is %d", o.Name, o.Mark)
	case cause.Invoked > o.Returned:
		c.breach(Truthful, o.Partition, o.ID, "%q was refused because of it before it began", o.Name)
	case !overlap(o.checks(), cause.marks()):
		c.breach(Truthful, o.Partition, o.ID, "%q was refused because of it, but it took none of its locks", o.Name)
	}
}

func overlap(a, b []lock) bool {
	return slices.ContainsFunc(a, func(l lock) bool { return slices.Contains(b, l) })
}

// stale: the floor is above the mark, the transaction had something to check,
// and the memory of locks was as long as promised.
func (c *checker) stale(o *Op) {
	end := txn.ID(len(c.Logs[o.Partition]) - 1)
	switch {
	case o.ID <= o.Mark:
		c.breach(Truthful, o.Partition, o.ID, "%q was called stale, but its mark %d is not below the floor", o.Name, o.Mark)
	case len(o.checks()) == 0:
		c.breach(Truthful, o.Partition, o.ID, "%q was called stale, but has nothing to check", o.Name)
	case o.ID > end-txn.ID(c.WindowMin):
		c.breach(Truthful, o.Partition, o.ID, "%q was called stale, but the floor is within %d of the end at %d", o.Name, c.WindowMin, end)
	}
}
