package codec

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Chunk is a received SubscribeResponse or ReadResponse. Its frame is a piece of
// memory of its own, so what is decoded from it may alias it for ever.
type Chunk struct {
	Frame         record.Frame
	HighWaterMark txn.ID // feeds only
	Committed     txn.ID // feeds only
}

func (c *Chunk) decode(b []byte) error {
	*c = Chunk{}
	return fields(b, func(num protowire.Number, value uint64, bytes []byte) error {
		switch num {
		case 1:
			c.Frame = bytes
		case 2:
			c.HighWaterMark = txn.ID(protowire.DecodeZigZag(value))
		case 3:
			c.Committed = txn.ID(protowire.DecodeZigZag(value))
		}
		return nil
	})
}
