package codec

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz/internal/monitor"
)

// Committed is a range of transactions that were committed.
type Committed struct {
	FirstSeq  uint64
	Count     uint32
	Partition txn.Partition
	FirstID   txn.ID
}

// Refused is one transaction that was not.
type Refused struct {
	Seq     uint64
	Outcome monitor.Outcome
}

// Answers is a received AppendResponse. Receiving into it again reuses it.
type Answers struct {
	Committed []Committed
	Refused   []Refused
}

func (a *Answers) decode(b []byte) error {
	a.Committed, a.Refused = a.Committed[:0], a.Refused[:0]
	return fields(b, func(num protowire.Number, _ uint64, bytes []byte) error {
		switch num {
		case 1:
			return a.decodeCommitted(bytes)
		case 2:
			return a.decodeRefused(bytes)
		}
		return nil
	})
}

func (a *Answers) decodeCommitted(b []byte) error {
	var c Committed
	err := fields(b, func(num protowire.Number, value uint64, _ []byte) error {
		switch num {
		case 1:
			c.FirstSeq = value
		case 2:
			c.Count = uint32(value)
		case 3:
			c.Partition = txn.Partition(value)
		case 4:
			c.FirstID = txn.ID(value)
		}
		return nil
	})
	a.Committed = append(a.Committed, c)
	return err
}

func (a *Answers) decodeRefused(b []byte) error {
	var r Refused
	err := fields(b, func(num protowire.Number, value uint64, bytes []byte) error {
		switch num {
		case 1:
			r.Seq = value
		case 2:
			r.Outcome.Reason = monitor.Reason(value)
		case 3:
			r.Outcome.ID = txn.ID(value)
		case 4:
			r.Outcome.Message = string(bytes)
		case 5:
			r.Outcome.Limit = int64(value)
		}
		return nil
	})
	a.Refused = append(a.Refused, r)
	return err
}
