// Package damage is what a storage says of bytes that are not what was written.
package damage

import (
	"errors"
	"fmt"
	"math"

	"github.com/waltz-log/waltz/internal/txn"
)

// Unknown is the Last of a range whose end can't be known.
const Unknown txn.ID = math.MaxInt64

// Error says which records of a partition can't be read and where they lay.
// They are never cut and never served; the other replicas have them.
type Error struct {
	Partition   txn.Partition
	First, Last txn.ID // Last is Unknown if the damage reaches to an unknown end
	File        string
	Offset      int64
	Reason      string
}

func (e *Error) Error() string {
	upTo := "an unknown end"
	if e.Last != Unknown {
		upTo = e.Last.String()
	}
	return fmt.Sprintf("partition %d is damaged from transaction %d to %s: %s at %d: %s; repair the replica from the others",
		e.Partition, e.First, upTo, e.File, e.Offset, e.Reason)
}

// Is reports whether err is or wraps an *Error.
func Is(err error) bool {
	var d *Error
	return errors.As(err, &d)
}
