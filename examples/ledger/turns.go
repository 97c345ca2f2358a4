package main

import (
	"context"
	"hash/maphash"
	"slices"

	"golang.org/x/sync/semaphore"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
)

const (
	turnStripes = 4096    // accounts of one stripe take turns, though they need not
	turnAll     = 1 << 20 // more than any number of credits under way
)

// turns puts this instance's transfers of one account in line: of those that decide on
// one state of it only one can win, and the others would do their work again. A debit
// has its turn alone, credits share one. It saves work and guards nothing: that the
// log's locks do, against other instances and all else.
type turns struct {
	seed    maphash.Seed
	stripes [turnStripes]*semaphore.Weighted
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.stripes {
		t.stripes[i] = semaphore.NewWeighted(turnAll)
	}
	return t
}

// turn is what a transfer takes of one stripe.
type turn struct {
	stripe int
	weight int64
}

// take waits until it is the turn of a transfer, first come, first served. Stripes are
// taken in order, so that no two transfers wait for each other.
func (t *turns) take(ctx context.Context, from, to ledger.Account) (done func(), err error) {
	debit, credit := turn{t.stripe(from), turnAll}, turn{t.stripe(to), 1}
	all := []turn{debit, credit}
	switch {
	case debit.stripe == credit.stripe:
		all = all[:1]
	case credit.stripe < debit.stripe:
		slices.Reverse(all)
	}
	for i, one := range all {
		if err := t.stripes[one.stripe].Acquire(ctx, one.weight); err != nil {
			t.release(all[:i])
			return nil, err
		}
	}
	return func() { t.release(all) }, nil
}

func (t *turns) release(all []turn) {
	for _, one := range all {
		t.stripes[one.stripe].Release(one.weight)
	}
}

func (t *turns) stripe(a ledger.Account) int {
	return int(maphash.Comparable(t.seed, a) % turnStripes)
}
