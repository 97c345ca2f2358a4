package main

import (
	"context"
	"hash/maphash"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
)

// turnStripes bounds what turns holds: accounts of one stripe take turns, though they
// need not.
const turnStripes = 4096

// turns puts this instance's transfers from one account in line: of those that decide
// on one balance of it only one can win, and the others would do their work again. So
// a turn lasts until the view shows the transfer; which also bounds how many this
// instance has in the log that the view does not show (I9).
//
// It saves work and guards nothing: that the log's locks do, against credits, other
// instances and all else. To have credits wait, too, was tried, and was slower.
type turns struct {
	seed    maphash.Seed
	stripes [turnStripes]chan struct{} // full while somebody has the turn
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.stripes {
		t.stripes[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits until it is the turn of a transfer, first come, first served, or until
// ctx ends.
func (t *turns) take(ctx context.Context, from ledger.Account) (done func(), err error) {
	stripe := t.stripes[maphash.Comparable(t.seed, from)%turnStripes]
	select {
	case stripe <- struct{}{}:
		return func() { <-stripe }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
