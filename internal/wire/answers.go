package wire

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/waltz-log/waltz/internal/txn"
)

// Committed answers Count attempts, numbered FirstSeq and up, that were
// committed as FirstID and up.
type Committed struct {
	FirstSeq  uint64
	Count     uint32
	Partition txn.Partition
	FirstID   txn.ID
}

// Refused answers one attempt.
type Refused struct {
	Seq   uint64
	Error Error
}

// Answers is an AppendResponse on its way out. The zero value is empty.
type Answers struct {
	Committed []Committed
	Refused   []Refused
}

// Commit adds a range, to the last one if it continues it.
func (a *Answers) Commit(c Committed) {
	if n := len(a.Committed); n > 0 {
		last := &a.Committed[n-1]
		if last.Partition == c.Partition && last.FirstSeq+uint64(last.Count) == c.FirstSeq && last.FirstID+txn.ID(last.Count) == c.FirstID {
			last.Count += c.Count
			return
		}
	}
	a.Committed = append(a.Committed, c)
}

// Len returns how many attempts are answered.
func (a *Answers) Len() int {
	n := len(a.Refused)
	for _, c := range a.Committed {
		n += int(c.Count)
	}
	return n
}

// Reset empties it.
func (a *Answers) Reset() {
	clear(a.Refused)
	a.Committed, a.Refused = a.Committed[:0], a.Refused[:0]
}

// MarshalWire encodes an AppendResponse.
func (a *Answers) MarshalWire() (mem.BufferSlice, error) {
	b := make([]byte, 0, 32*len(a.Committed)+128*len(a.Refused))
	var tmp []byte
	for i := range a.Committed {
		tmp = a.Committed[i].append(tmp[:0])
		b = appendBytes(b, 1, tmp)
	}
	for i := range a.Refused {
		tmp = a.Refused[i].append(tmp[:0])
		b = appendBytes(b, 2, tmp)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (c *Committed) append(b []byte) []byte {
	b = appendVarint(b, 1, c.FirstSeq)
	b = appendVarint(b, 2, uint64(c.Count))
	b = appendVarint(b, 3, uint64(c.Partition))
	return appendVarint(b, 4, uint64(c.FirstID))
}

func (r *Refused) append(b []byte) []byte {
	b = appendVarint(b, 1, r.Seq)
	b = appendVarint(b, 2, uint64(r.Error.Reason))
	b = appendVarint(b, 3, uint64(r.Error.TransactionID))
	b = appendBytes(b, 4, []byte(r.Error.Message))
	return appendVarint(b, 5, uint64(r.Error.Limit))
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}
