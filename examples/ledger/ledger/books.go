package ledger

import (
	"context"

	"github.com/waltz-log/waltz/waltz"
)

// Books is what the ledger reads of its view: one snapshot, in which every answer
// is of the same moment. It ends with the execution it was made for.
type Books interface {
	// Standing returns an account's state; an unknown account has the zero value.
	Standing(ctx context.Context, a Account) (Standing, error)
	// Parties is Standing of two accounts that an entry moves money between.
	Parties(ctx context.Context, from, to Account) (sender, receiver Standing, err error)
	// Crossing returns a transfer across partitions; found is false if the view has
	// not seen its TRANSFER_OUT.
	Crossing(ctx context.Context, o Origin) (c Crossing, found bool, err error)
	// Pending returns the pending transfers that left partition p above the ID, in
	// order, at most limit.
	Pending(ctx context.Context, p waltz.Partition, above waltz.ID, limit int) ([]Crossing, error)
	// PendingFrom reports whether an account has sent a transfer that is pending.
	PendingFrom(ctx context.Context, a Account) (bool, error)
}

// Standing is an account's state.
type Standing struct {
	Known        bool // opened, or booked on
	Closed       bool
	BalanceMinor int64
}

// Open reports whether the account takes postings.
func (s Standing) Open() bool { return s.Known && !s.Closed }

// Crossing is a transfer across partitions.
type Crossing struct {
	Origin
	From, To    Account
	AmountMinor int64
	BookedOn    Date
	Type        string
	Status      Status
	Reason      string // why it was refused
}

// Status is how far a transfer across partitions is.
type Status string

// The statuses. Refused is still pending: the money is in transit, on its way back.
const (
	Pending  Status = "pending"
	Refused  Status = "refused"
	Credited Status = "credited"
	Returned Status = "returned"
)
