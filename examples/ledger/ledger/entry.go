package ledger

import (
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/waltz"
)

// The headers under which entries are in the log.
const (
	HeaderPosted    waltz.Header = 10 // postings
	HeaderCorrected waltz.Header = 11 // what became of a transfer that was refused
	HeaderLifecycle waltz.Header = 12 // accounts opened and closed
)

// Posted, Corrected and Lifecycle declare the ledger's transactions. All carry an
// [Entry], whose kind says more.
var (
	Posted    = waltz.Kind[Entry]{Header: HeaderPosted, Name: "ledger.posted", Codec: Codec{}}
	Corrected = waltz.Kind[Entry]{Header: HeaderCorrected, Name: "ledger.corrected", Codec: Codec{}}
	Lifecycle = waltz.Kind[Entry]{Header: HeaderLifecycle, Name: "ledger.lifecycle", Codec: Codec{}}
)

// Kind is what an entry does.
type Kind string

// The kinds of entries, with the header they go under.
const (
	KindTransfer Kind = "TRANSFER"          // posted: within a partition
	KindOut      Kind = "TRANSFER_OUT"      // posted: to another partition, into transit
	KindIn       Kind = "TRANSFER_IN"       // posted: from another partition, out of transit
	KindRefused  Kind = "TRANSFER_REFUSED"  // corrected: the receiver's partition does not take it
	KindReturned Kind = "TRANSFER_RETURNED" // corrected: back out of transit to the sender
	KindOpened   Kind = "ACCOUNT_OPENED"    // lifecycle: with a first deposit, perhaps
	KindClosed   Kind = "ACCOUNT_CLOSED"    // lifecycle
)

// Side is the side of a posting.
type Side string

// The sides. Accounts are the bank's liabilities: credit adds to a balance.
const (
	Debit  Side = "DR"
	Credit Side = "CR"
)

// Currency is the one that this ledger is kept in.
const Currency = "CZK"

// Posting is one side of an entry.
type Posting struct {
	Account     Account `json:"account"`
	Currency    string  `json:"currency"`
	Side        Side    `json:"side"`
	AmountMinor int64   `json:"amount_minor"` // above 0, at most AmountMax
}

// Signed returns what the posting adds to its account's balance.
func (p Posting) Signed() int64 {
	if p.Side == Credit {
		return p.AmountMinor
	}
	return -p.AmountMinor
}

// Entry is the data of one transaction of the ledger. Its fields are described in
// schema/transfer.record.yaml, for consumers that know nothing of Go.
//
// A valid entry balances, has each account in one posting only, and fits its kind;
// builders make no other and Codec.Decode refuses any other, so that whoever holds
// one may rely on it.
type Entry struct {
	Kind           Kind      `json:"kind"`
	Type           string    `json:"type,omitempty"` // the bank's own word: PRIJEM, VYDAJ, VYBER, ...
	BookedOn       Date      `json:"booked_on"`
	AmountMinor    int64     `json:"amount_minor,omitempty"`
	From           Account   `json:"from,omitempty"` // of a transfer of any kind
	To             Account   `json:"to,omitempty"`
	AllowOverdraft bool      `json:"allow_overdraft,omitempty"`
	Postings       []Posting `json:"postings"`

	// Of accounts opened and closed.
	Account  Account `json:"account,omitempty"`
	Currency string  `json:"currency,omitempty"`

	// Of transfers in, refused and returned: the TRANSFER_OUT that they belong to.
	Origin *Origin `json:"origin,omitempty"`
	Reason string  `json:"reason,omitempty"` // why it was refused
}

// Origin names the transaction that began a transfer across partitions.
type Origin struct {
	Partition waltz.Partition `json:"partition"`
	ID        waltz.ID        `json:"id"`
}

func (o Origin) String() string { return fmt.Sprintf("%d/%d", o.Partition, o.ID) }

// pair returns the two postings that move an amount.
func pair(from, to Account, amountMinor int64) []Posting {
	return []Posting{
		{Account: from, Currency: Currency, Side: Debit, AmountMinor: amountMinor},
		{Account: to, Currency: Currency, Side: Credit, AmountMinor: amountMinor},
	}
}

// Kinds declares each header once, for those who read all of them.
func Kinds() []waltz.Kind[Entry] { return []waltz.Kind[Entry]{Posted, Corrected, Lifecycle} }

// IsHeader reports whether transactions with a header are the ledger's. Others may share
// the log.
func IsHeader(h waltz.Header) bool { return HeaderPosted <= h && h <= HeaderLifecycle }

// Of returns the declaration that an entry is put and decoded with.
func (k Kind) Of() waltz.Kind[Entry] {
	switch k {
	case KindRefused, KindReturned:
		return Corrected
	case KindOpened, KindClosed:
		return Lifecycle
	}
	return Posted
}

var errMalformed = errors.New("malformed entry")

// validate reports the first rule that the entry breaks.
func (e *Entry) validate() error {
	switch e.Kind {
	case KindTransfer, KindOut:
	case KindIn, KindRefused, KindReturned:
		if e.Origin == nil {
			return fmt.Errorf("%w: %s without origin", errMalformed, e.Kind)
		}
	case KindOpened, KindClosed:
		if !e.Account.IsCustomer() {
			return fmt.Errorf("%w: %s of account %d", errMalformed, e.Kind, e.Account)
		}
	default:
		return fmt.Errorf("%w: kind %q", errMalformed, e.Kind)
	}
	return e.validatePostings()
}

func (e *Entry) validatePostings() error {
	sum := int64(0)
	for i, p := range e.Postings {
		if p.AmountMinor <= 0 || p.AmountMinor > AmountMax || p.Account == 0 || p.Side != Debit && p.Side != Credit {
			return fmt.Errorf("%w: posting %d: %s %d on account %d", errMalformed, i, p.Side, p.AmountMinor, p.Account)
		}
		for _, earlier := range e.Postings[:i] {
			if earlier.Account == p.Account {
				return fmt.Errorf("%w: two postings on account %d", errMalformed, p.Account)
			}
		}
		sum += p.Signed()
	}
	if sum != 0 {
		return fmt.Errorf("%w: postings sum to %d", errMalformed, sum)
	}
	return nil
}
