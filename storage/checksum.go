package storage

import (
	"context"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/waltz-log/waltz/internal/txn"
)

// Digest is a checksum over records first to last, byte for byte: for two
// replicas it is the same if their records are, and differs, but for a chance of
// one in 2^128, if they are not. It does not depend on how records lie in files.
type Digest struct {
	Partition   txn.Partition
	First, Last txn.ID
	Records     int64
	Bytes       int64
	Sum         [16]byte // XXH3-128 of the records' bytes, one behind the other; big endian
}

// checksumRead is how much Checksum reads at once.
const checksumRead = 256 << 10

// Checksum reads and verifies records first to last, also of a replica that is
// out of service. It reads as fast as the disk allows; use ranges. Errors are as
// Read's: what is damaged has no checksum.
func (s *Storage) Checksum(ctx context.Context, p txn.Partition, first, last txn.ID) (Digest, error) {
	d := Digest{Partition: p, First: first, Last: last}
	if err := s.checksum(ctx, &d); err != nil {
		return Digest{}, fmt.Errorf("checksum of transactions %d to %d of partition %d: %w", first, last, p, err)
	}
	return d, nil
}

func (s *Storage) checksum(ctx context.Context, d *Digest) error {
	r, err := s.replica(d.Partition)
	if err != nil {
		return err
	}
	h := xxh3.New()
	buf := make([]byte, checksumRead+ReadSlack)
	for next := d.First; next <= d.Last; next = d.First + txn.ID(d.Records) {
		f, err := s.readReplica(ctx, r, next, d.Last, checksumRead, buf)
		if err != nil {
			return err
		}
		_, _ = h.Write(f) // never fails
		d.Bytes += int64(len(f))
		for range f.Trusted() {
			d.Records++
		}
	}
	d.Sum = h.Sum128().Bytes()
	return nil
}
