package waltz

import (
	"fmt"
	"unsafe"

	"github.com/waltz-log/waltz/internal/record"
)

// decoder turns verified frames into transactions that alias them.
type decoder struct {
	partition Partition
	last      ID                // of the transaction before
	gap       bool              // some between were left out
	wanted    func(Header) bool // whose data must be there
}

// decode verifies checksums, partition and order. Nothing is allocated but the
// slice that it returns.
func (d *decoder) decode(f record.Frame) ([]Committed, error) {
	if len(f) == 0 {
		return nil, nil
	}
	out := make([]Committed, 0, d.estimate(f))
	for off := 0; off < len(f); {
		r, n, err := record.Decode(f[off:])
		if err != nil {
			return nil, fmt.Errorf("frame from the server, at offset %d: %w", off, err)
		}
		if err := d.accept(&r); err != nil {
			return nil, err
		}
		out = append(out, Committed{
			Partition: r.Partition, ID: r.ID, Header: r.Header, Time: r.Time.Time(),
			Key:  unsafe.String(unsafe.SliceData(r.Key), len(r.Key)), // nobody changes the frame's bytes of it
			Data: r.Data[:len(r.Data):len(r.Data)], DataLen: r.DataLen, Skipped: r.DataLeftOut,
		})
		off += n
	}
	return out, nil
}

// estimate guesses how many records there are by the first one's size.
func (d *decoder) estimate(f record.Frame) int {
	if len(f) < record.HeaderSize {
		return 0
	}
	return len(f)/max(f.TrustedLen(), record.HeaderSize) + 1
}

// accept refuses what can't follow.
func (d *decoder) accept(r *record.Record) error {
	switch {
	case r.Partition != d.partition:
		return fmt.Errorf("server breaks the feed: a transaction of partition %d came in partition %d", r.Partition, d.partition)
	case r.ID <= d.last:
		return fmt.Errorf("server breaks the feed: transaction %d came after %d", r.ID, d.last)
	case r.DataLeftOut && d.wanted(r.Header):
		return fmt.Errorf("server breaks the feed: the data of transaction %d was left out", r.ID)
	}
	d.gap = d.gap || r.ID != d.last+1
	d.last = r.ID
	return nil
}
