// Package quorum is the arithmetic of majorities: how many are needed, and how
// far a majority has come. It knows nothing of messages, replicas or sessions.
package quorum

import (
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/txn"
)

// Majority returns how many of n members decide: more than half. Any two
// majorities of the same members share one.
func Majority(n int) int {
	if mutant.On("half-is-a-majority") {
		return (n + 1) / 2
	}
	return n/2 + 1
}

// Reached reports whether have of n members are a majority. No majority of no
// members exists.
func Reached(have, n int) bool { return n > 0 && have >= Majority(n) }

// Committed returns the highest ID that a majority of members has answered:
// answered holds one entry for every member, [txn.None] for one that has not
// answered or does not count. It changes nothing and does not allocate for up
// to 8 members.
func Committed(answered []txn.ID) txn.ID {
	switch len(answered) {
	case 0:
		return txn.None
	case 1:
		return answered[0]
	}
	var few [8]txn.ID
	sorted := append(few[:0], answered...)
	slices.Sort(sorted)
	return sorted[len(sorted)-Majority(len(sorted))]
}
