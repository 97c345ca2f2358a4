package view

import (
	"cmp"
	"maps"
	"slices"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// accountChange is what a batch does to an account.
type accountChange struct {
	account      ledger.Account
	partition    waltz.Partition
	openedOn     ledger.Date // the earliest booking
	closedOn     ledger.Date // "": it isn't closed
	balanceMinor int64
	transactions int64
}

// postingRow is one posting of the batch.
type postingRow struct {
	account     ledger.Account
	id          waltz.ID
	bookedOn    ledger.Date
	amountMinor int64
}

// crossingChange is the steps of a transfer across partitions.
type crossingChange struct {
	ledger.Origin
	*ledger.Entry                           // any step's: they agree on what is moved
	sent, credited, refused, returned int64 // 1: it was
	reason                            string
}

// batch is what a run of records changes.
type batch struct {
	accounts  map[ledger.Account]*accountChange
	postings  []postingRow
	crossings map[ledger.Origin]*crossingChange
}

// fold works the records out. Every change is a sum, a flag, or the least of
// something, so the order of steps does not matter, neither here nor between batches
// of different kinds, and each table is written in the order of its keys.
func fold(records []waltz.Record[ledger.Entry]) *batch {
	b := &batch{
		accounts:  make(map[ledger.Account]*accountChange, len(records)),
		postings:  make([]postingRow, 0, 2*len(records)),
		crossings: map[ledger.Origin]*crossingChange{},
	}
	for i := range records {
		b.add(&records[i])
	}
	slices.SortFunc(b.postings, func(x, y postingRow) int {
		return cmp.Or(cmp.Compare(x.account, y.account), cmp.Compare(x.id, y.id))
	})
	return b
}

func (b *batch) add(r *waltz.Record[ledger.Entry]) {
	e := &r.Value
	for _, p := range e.Postings {
		b.postings = append(b.postings, postingRow{p.Account, r.ID, e.BookedOn, p.Signed()})
		a := b.account(p.Account, r)
		a.balanceMinor += p.Signed()
		a.transactions++
	}
	switch e.Kind {
	case ledger.KindOpened:
		b.account(e.Account, r)
	case ledger.KindClosed:
		b.account(e.Account, r).closedOn = e.BookedOn
	case ledger.KindOut:
		b.crossing(ledger.Origin{Partition: r.Partition, ID: r.ID}, e).sent = 1
	case ledger.KindIn:
		b.crossing(*e.Origin, e).credited = 1
	case ledger.KindRefused:
		b.crossing(*e.Origin, e).refused = 1
	case ledger.KindReturned:
		b.crossing(*e.Origin, e).returned = 1
	case ledger.KindTransfer:
	}
}

func (b *batch) crossing(o ledger.Origin, e *ledger.Entry) *crossingChange {
	c := b.crossings[o]
	if c == nil {
		c = &crossingChange{Origin: o, Entry: e}
		b.crossings[o] = c
	}
	c.reason = max(c.reason, e.Reason)
	return c
}

// sortedCrossings returns the changed crossings in order. Partitions share them, so
// all lock them in this one.
func (b *batch) sortedCrossings() []*crossingChange {
	return slices.SortedFunc(maps.Values(b.crossings), func(x, y *crossingChange) int {
		return cmp.Or(cmp.Compare(x.Partition, y.Partition), cmp.Compare(x.ID, y.ID))
	})
}

func (b *batch) account(a ledger.Account, r *waltz.Record[ledger.Entry]) *accountChange {
	change := b.accounts[a]
	if change == nil {
		change = &accountChange{account: a, partition: r.Partition, openedOn: r.Value.BookedOn}
		b.accounts[a] = change
	}
	change.openedOn = min(change.openedOn, r.Value.BookedOn)
	return change
}

// sortedAccounts returns the changed accounts in order.
func (b *batch) sortedAccounts() []*accountChange {
	return slices.SortedFunc(maps.Values(b.accounts), func(x, y *accountChange) int { return cmp.Compare(x.account, y.account) })
}
