package partition

import (
	"fmt"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// DamagedError says that a partition stays closed, since all that a store session
// could be opened on is damaged. Its log's records may be; that alone closes
// nothing.
type DamagedError struct {
	Partition txn.Partition
	Err       error // what the storages say
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("partition %d stays closed: %v", e.Partition, e.Err)
}

// Unwrap returns what the storages say.
func (e *DamagedError) Unwrap() error { return e.Err }

// closure is why a partition is not open.
type closure struct {
	err     error
	damaged bool // no use in waiting
}

// cause returns it with its chain, for the process.
func (c *closure) cause(p txn.Partition) error {
	if c.damaged {
		return &DamagedError{Partition: p, Err: c.err}
	}
	return fmt.Errorf("partition %d is not open: %w", p, c.err)
}

// refusal returns it as clients are told: damage is final, all else passes.
func (c *closure) refusal(p txn.Partition) *wire.Error {
	reason := wire.Unavailable
	if c.damaged {
		reason = wire.Corrupt
	}
	return wire.Refuse(reason, "%v", c.cause(p))
}

// damaged reports whether an error of a session, or what became of it on the way
// through Partition.Read, says that the log is.
func damaged(err error) bool {
	reason, _ := wire.ReasonOf(err)
	return reason == wire.Corrupt || record.IsCorrupt(err)
}

// damageEnd returns the end of damage that was met at transaction bad: a damaged
// transaction, of which the next one can be read, or which is last. How far damage
// reaches no session tells, so it is probed for, in steps that double and then in
// halves: one read for each factor of two, though a storage may have lost a whole
// segment. What can be read between two damaged ranges that are close to each
// other may be passed over; who calls it takes all up to the end for damaged.
func damageEnd(bad, last txn.ID, read func(txn.ID) error) (txn.ID, error) {
	good := last + 1 // or there is none
	for step := txn.ID(1); bad+step < good; step *= 2 {
		switch err := read(bad + step); {
		case err == nil:
			good = bad + step
		case !damaged(err):
			return bad, err
		default:
			bad += step
		}
	}
	for bad+1 < good {
		middle := bad + (good-bad)/2
		switch err := read(middle); {
		case err == nil:
			good = middle
		case !damaged(err):
			return bad, err
		default:
			bad = middle
		}
	}
	return bad, nil
}
