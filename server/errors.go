package server

import (
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/txn"
)

// DamagedError says that partitions stay closed, since the storages that could
// open them are damaged, while all others are open. Appends to them and reads of
// them are refused as corrupt. A damaged record is no reason for it: it is refused
// alone.
type DamagedError struct {
	Partitions []txn.Partition // in order
	Errs       []error         // why, one for each
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("%d partitions are damaged: %v", len(e.Partitions), errors.Join(e.Errs...))
}

// Unwrap returns what each partition says.
func (e *DamagedError) Unwrap() []error { return e.Errs }
