package ledger

import (
	"fmt"

	"github.com/waltz-log/waltz/txcontext"
)

// The limits, in minor units. BalanceMax is for accounts of the house, too, whose
// balances nobody else looks at.
//
// Credits run together, each on a balance that may lack the others, so a balance may
// pass BalanceMax by what was under way at the same moment: at most the 131,072
// transactions that a log checks locks over, each of AmountMax, and what comes back from
// transit. That is less than a twentieth of what an int64 holds, so that no sequence of
// entries takes a balance, in the view or in an audit, beyond it.
const (
	AmountMax  int64 = 1_000_000_000_000       // of one transfer or deposit
	BalanceMax int64 = 100_000_000_000_000_000 // of an account, above and below zero
)

// withinBoth declines if a pair of postings takes one of its accounts beyond the limit.
func withinBoth(from, to Standing, pair []Posting) error {
	for i, s := range []Standing{from, to} {
		if p := pair[i]; !s.within(p.Signed()) {
			return txcontext.Decline(fmt.Errorf("account %d: %w", p.Account, ErrLimit))
		}
	}
	return nil
}

// within reports whether a change leaves the balance within the limit. What brings it
// back towards zero always does.
func (s Standing) within(changeMinor int64) bool {
	after := s.BalanceMinor + changeMinor
	return changeMinor > 0 && after <= BalanceMax || changeMinor <= 0 && after >= -BalanceMax
}
