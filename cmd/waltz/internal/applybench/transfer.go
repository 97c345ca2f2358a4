package applybench

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/waltz-log/waltz/waltz"
)

// transfer is an entry of the ledger that moves an amount within a partition.
type transfer struct {
	typ            string
	bookedOn       string // ISO date
	amountMinor    int64
	from, to       int64 // accounts
	allowOverdraft bool
}

// posted is the kind of the transactions. Its codec is cheap, so that it hides nothing.
var posted = waltz.Kind[transfer]{Header: 10, Name: "bench.posted", Codec: codec{}}

type codec struct{}

const fixedBytes = 3*8 + 1 + 10 // amount, accounts, overdraft, date; the type is the rest

// Encode implements waltz.Codec.
func (codec) Encode(t transfer) ([]byte, error) {
	b := make([]byte, 0, fixedBytes+len(t.typ))
	for _, n := range []int64{t.amountMinor, t.from, t.to} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, byte(flag(t.allowOverdraft)))
	b = append(b, t.bookedOn...)
	return append(b, t.typ...), nil
}

// Decode implements waltz.Codec.
func (codec) Decode(data []byte, t *transfer) error {
	if len(data) < fixedBytes {
		return errors.New("malformed transfer")
	}
	number := func(i int) int64 { return int64(binary.LittleEndian.Uint64(data[8*i:])) }
	*t = transfer{
		amountMinor: number(0), from: number(1), to: number(2), allowOverdraft: data[24] != 0,
		bookedOn: string(data[25:fixedBytes]), typ: string(data[fixedBytes:]),
	}
	return nil
}

func flag(is bool) int64 {
	if is {
		return 1
	}
	return 0
}

// accounts is how many each partition has. No two partitions share one.
const accounts = 10_000

// nth returns transfer i of a partition: the same ones in every run.
func nth(p waltz.Partition, i int) (t transfer, key string) {
	from := (i*7919 + i/accounts) % accounts
	to := (from + 1 + i*31%(accounts-1)) % accounts
	base := int64(p)*accounts + 1
	return transfer{
		typ: "PREVOD NA UCET", bookedOn: "1998-" + fmt.Sprintf("%02d-%02d", i/28%12+1, i%28+1), amountMinor: int64(i%99_999) + 1,
		from: base + int64(from), to: base + int64(to),
	}, fmt.Sprintf("transfer:%d:%d", p, i)
}

// record is a decoded transfer.
type record = waltz.Record[transfer]

// posting is one side of a transfer, a row of its table.
type posting struct {
	Account, ID int64
	BookedOn    string
	AmountMinor int64 // credit above 0
}

// postingsOf returns the postings in the order of their keys.
func postingsOf(rs []record) []posting {
	all := make([]posting, 0, 2*len(rs))
	for i := range rs {
		v := &rs[i].Value
		all = append(all,
			posting{v.from, int64(rs[i].ID), v.bookedOn, -v.amountMinor},
			posting{v.to, int64(rs[i].ID), v.bookedOn, v.amountMinor})
	}
	slices.SortFunc(all, func(a, b posting) int { return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.ID, b.ID)) })
	return all
}

// change is what a batch does to an account, a row to be inserted or added.
type change struct {
	Account                    int64
	OpenedOn                   string // of the first posting
	BalanceMinor, Transactions int64
}

// changesOf adds the records up by account, in the order of accounts.
func changesOf(rs []record) []change {
	sums := make(map[int64]change, len(rs))
	for i := range rs {
		v := &rs[i].Value
		for _, side := range [2]struct{ account, amount int64 }{{v.from, -v.amountMinor}, {v.to, v.amountMinor}} {
			c, has := sums[side.account]
			if !has {
				c = change{Account: side.account, OpenedOn: v.bookedOn}
			}
			c.BalanceMinor += side.amount
			c.Transactions++
			sums[side.account] = c
		}
	}
	out := make([]change, 0, len(sums))
	for _, account := range slices.Sorted(maps.Keys(sums)) {
		out = append(out, sums[account])
	}
	return out
}

// sums are what the tables come to.
type sums struct {
	entries, keys, postings, accounts int64
	moved                             int64 // of all entries
	weighed                           int64 // balances, each times its account
	transactions                      int64 // of all accounts
}

// add adds a transfer, as the tables would come to have it.
func (s *sums) add(t *transfer, key string, balances map[int64]int64) {
	s.entries++
	if key != "" {
		s.keys++
	}
	s.postings += 2
	s.transactions += 2
	s.moved += t.amountMinor
	balances[t.from] -= t.amountMinor
	balances[t.to] += t.amountMinor
}

// weigh ends the adding.
func (s *sums) weigh(balances map[int64]int64) {
	for account, balance := range balances {
		s.weighed += account * balance
	}
	s.accounts = int64(len(balances))
}
