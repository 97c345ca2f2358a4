package storage

import (
	"context"
	"errors"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Source reads records of a partition from another replica: at least the first
// one, and as many more up to last as it likes, each with its data. What Read
// returns is right. It is called by one goroutine at a time, with first growing
// from call to call, and must return when ctx ends. It is not trusted: every
// record is verified.
type Source func(ctx context.Context, first, last txn.ID) (record.Frame, error)

// Repair says what to repair.
type Repair struct {
	Partition txn.Partition
	// First and Last are the records to look at. Last below First: all that is known
	// to be damaged.
	First, Last txn.ID
	// Committed is what the caller knows to be committed, say from the partition's
	// server; the replica may not have heard of it. Nothing above it and above what
	// the replica itself knows to be committed is repaired. Zero or less: what the
	// replica knows.
	Committed txn.ID
}

// Repaired says what Repair did.
type Repaired struct {
	Partition txn.Partition
	Records   int64           // taken from the source
	Bytes     int64           // of them
	Segments  int             // files replaced
	Left      []*DamagedError // damage that is still there
}

// Repair replaces damaged records by another replica's.
func (s *Storage) Repair(ctx context.Context, m Repair, from Source) (Repaired, error) {
	return Repaired{Partition: m.Partition}, errors.ErrUnsupported
}
