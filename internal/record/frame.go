package record

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/waltz-log/waltz/internal/txn"
)

// Frame is the encoded records of one partition with consecutive IDs.
type Frame []byte

// Span is what a frame holds, read from the frame itself.
type Span struct {
	Partition   txn.Partition
	First, Last txn.ID
	LastStamp   txn.SessionID
	LastTime    txn.Timestamp
	Records     int
	LeftOut     int // of them, those whose data was left out
}

// Check reads a whole frame: every checksum, one partition, IDs without gaps,
// stamps and timestamps that never decrease. Errors are [*CorruptError] with
// the offset of the record that does not fit. An empty frame is an error.
func (f Frame) Check() (Span, error) {
	var s Span
	for off := 0; off < len(f); {
		r, n, err := Decode(f[off:])
		if err != nil {
			return s, at(err, off)
		}
		switch {
		case r.ID < 0:
			return s, at(corrupt("transaction ID %d is negative", r.ID), off)
		case off == 0:
			s.Partition, s.First = r.Partition, r.ID
		case r.Partition != s.Partition:
			return s, at(corrupt("partition %d in a frame of partition %d", r.Partition, s.Partition), off)
		case r.ID != s.Last+1:
			return s, at(corrupt("transaction %d follows transaction %d", r.ID, s.Last), off)
		case r.Stamp < s.LastStamp:
			return s, at(corrupt("stamp %d follows stamp %d", r.Stamp, s.LastStamp), off)
		case r.Time < s.LastTime:
			return s, at(corrupt("timestamp %d follows timestamp %d", r.Time, s.LastTime), off)
		}
		s.Last, s.LastStamp, s.LastTime = r.ID, r.Stamp, r.Time
		s.Records++
		if r.DataLeftOut {
			s.LeftOut++
		}
		off += n
	}
	if s.Records == 0 {
		return s, corrupt("the frame is empty")
	}
	return s, nil
}

// at places a corruption found at the start of a record.
func at(err error, off int) error {
	var c *CorruptError
	if errors.As(err, &c) {
		return &CorruptError{Offset: c.Offset + int64(off), Reason: c.Reason}
	}
	return err
}

// All walks the records of a frame and verifies each one's checksum. It ends
// after the first error.
func (f Frame) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for off := 0; off < len(f); {
			r, n, err := Decode(f[off:])
			if err != nil {
				yield(Record{}, at(err, off))
				return
			}
			if !yield(r, nil) {
				return
			}
			off += n
		}
	}
}

// Trusted walks the records of a frame whose checksums this process has
// verified or made; it must not be used on bytes from a disk or a network.
func (f Frame) Trusted() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		for off := 0; off < len(f); {
			n := int(binary.LittleEndian.Uint32(f[off:]))
			if !yield(view(f[off : off+n])) {
				return
			}
			off += n
		}
	}
}

// TrustedID returns the ID of the record at the start of a non-empty trusted frame.
func (f Frame) TrustedID() txn.ID { return txn.ID(binary.LittleEndian.Uint64(f[16:])) }

// TrustedLen returns the size of the record at the start of a non-empty trusted frame.
func (f Frame) TrustedLen() int { return int(binary.LittleEndian.Uint32(f)) }

// End returns the last record of a frame, found by the lengths; false if they don't add
// up, or it is damaged. Of the others no checksum is verified.
func (f Frame) End() (Record, bool) {
	for len(f) >= HeaderSize {
		n := f.TrustedLen()
		if n == len(f) {
			r, _, err := Decode(f)
			return r, err == nil
		}
		if n < HeaderSize || n > len(f) {
			return Record{}, false
		}
		f = f[n:]
	}
	return Record{}, false
}
