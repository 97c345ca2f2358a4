package main

import (
	"math/rand/v2"
	"strconv"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

const (
	openingMinor  = 100_000 // first deposit of an account
	amountMax     = 40_000  // of a transfer
	hotAccounts   = 40      // of all accounts
	hotPercent    = 20      // of the transfers have a hot sender, and as many a hot receiver
	crossPercent  = 15      // go to another partition
	unknownPerMil = 2       // go to an account of another partition that does not exist
)

// planner draws transfers. The same seed and accounts make the same plan.
type planner struct {
	rng       *rand.Rand
	hot, cold map[waltz.Partition][]ledger.Account
	unknown   map[waltz.Partition]ledger.Account
	home      func(ledger.Account) waltz.Partition
	all       []ledger.Account
}

// plan returns the demo's transfers between the accounts that come after base.
func plan(seed uint64, transfers int, base ledger.Account, home func(ledger.Account) waltz.Partition, on ledger.Date) []ledger.Order {
	p := &planner{
		rng: rand.New(rand.NewPCG(seed, 0)), home: home,
		hot: map[waltz.Partition][]ledger.Account{}, cold: map[waltz.Partition][]ledger.Account{},
		unknown: map[waltz.Partition]ledger.Account{},
	}
	for i := range ledger.Account(demoAccounts) {
		a := base + i + 1
		p.all = append(p.all, a)
		if i < hotAccounts {
			p.hot[home(a)] = append(p.hot[home(a)], a)
		} else {
			p.cold[home(a)] = append(p.cold[home(a)], a)
		}
	}
	for i := range ledger.Account(100) { // past the next runs' accounts
		p.unknown[home(ledger.Account(1<<40)+i)] = ledger.Account(1<<40) + i
	}
	orders := make([]ledger.Order, transfers)
	for i := range orders {
		orders[i] = p.order()
		orders[i].Key = "demo:" + base.String() + ":" + strconv.Itoa(i)
		orders[i].BookedOn = on
	}
	return orders
}

func (p *planner) order() ledger.Order {
	o := ledger.Order{From: p.sender(), Type: "TRANSFER", AmountMinor: 1 + p.rng.Int64N(amountMax)}
	here := p.home(o.From)
	switch n := p.rng.IntN(1000); {
	case n < unknownPerMil:
		o.To = p.unknown[p.elsewhere(here)]
	case n < unknownPerMil+10*crossPercent:
		o.To = p.receiver(p.elsewhere(here), o.From)
	default:
		o.To = p.receiver(here, o.From)
	}
	return o
}

func (p *planner) sender() ledger.Account {
	if p.rng.IntN(100) < hotPercent {
		return p.all[p.rng.IntN(hotAccounts)]
	}
	return p.all[hotAccounts+p.rng.IntN(len(p.all)-hotAccounts)]
}

// receiver draws an account of a partition that is not the sender.
func (p *planner) receiver(in waltz.Partition, not ledger.Account) ledger.Account {
	for {
		from := p.cold[in]
		if p.rng.IntN(100) < hotPercent && len(p.hot[in]) > 1 {
			from = p.hot[in]
		}
		if a := from[p.rng.IntN(len(from))]; a != not {
			return a
		}
	}
}

// elsewhere draws another partition that has accounts, or the same if there is none.
func (p *planner) elsewhere(here waltz.Partition) waltz.Partition {
	if len(p.cold) < 2 {
		return here
	}
	for {
		if there := p.home(p.all[p.rng.IntN(len(p.all))]); there != here && len(p.cold[there]) > 0 {
			return there
		}
	}
}
