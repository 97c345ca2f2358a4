package berka

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
)

// Generate writes rows made from the seed to trans, and the balances that they come
// to, summed up here and not by any ledger, to expected: account_id, transactions,
// balance_haler. Some accounts go below zero for a while, as the bank's do.
func Generate(trans, expected io.Writer, rows int, seed uint64) error {
	g := &generator{
		rng:      rand.New(rand.NewPCG(seed, seed)),
		accounts: max(1, rows/40),
		totals:   map[ledger.Account]total{},
	}
	if err := g.writeRows(trans, rows); err != nil {
		return fmt.Errorf("write rows: %w", err)
	}
	if err := g.writeTotals(expected); err != nil {
		return fmt.Errorf("write expected balances: %w", err)
	}
	return nil
}

type generator struct {
	rng      *rand.Rand
	accounts int
	totals   map[ledger.Account]total
}

type total struct{ transactions, balance int64 }

const (
	generatedDays  = 455 // from 1993-01-01 to 1994-03-31
	generatedStart = 725846400
)

func (g *generator) writeRows(to io.Writer, rows int) error {
	w := bufio.NewWriter(to)
	for i, name := range fieldNames {
		fmt.Fprintf(w, "%s%q", separator(i), name)
	}
	fmt.Fprintln(w)
	ids := g.rng.Perm(rows)
	for i := range rows {
		day := time.Unix(generatedStart, 0).UTC().AddDate(0, 0, i*generatedDays/rows)
		row := g.row(int64(ids[i]) + 1000)
		t := g.totals[row.Account]
		t.transactions++
		t.balance += row.Signed()
		g.totals[row.Account] = t
		fmt.Fprintf(w, "%d;%d;%s;%q;%q;%s;%s;\"\";;\n", row.TransID, row.Account, day.Format("060102"),
			row.Type, "", ledger.Amount(row.AmountMinor), ledger.Amount(t.balance))
	}
	return w.Flush()
}

// row draws an account, a few of which are busy, and a movement on it.
func (g *generator) row(id int64) Row {
	n := g.rng.IntN(g.accounts)
	if g.rng.IntN(4) == 0 {
		n = g.rng.IntN(g.accounts/20 + 1)
	}
	types := []string{Income, Income, Expense, Expense, Withdrawal}
	r := Row{TransID: id, Account: ledger.Account(3*n + 1), Type: types[g.rng.IntN(len(types))]}
	r.AmountMinor = 10 * (1 + g.rng.Int64N(200_000))
	if !r.Debit() {
		r.AmountMinor *= 2
	}
	return r
}

func (g *generator) writeTotals(to io.Writer) error {
	w := bufio.NewWriter(to)
	fmt.Fprintln(w, "account_id,transactions,balance_haler")
	for _, a := range slices.SortedFunc(maps.Keys(g.totals), cmp.Compare) {
		fmt.Fprintf(w, "%d,%d,%d\n", a, g.totals[a].transactions, g.totals[a].balance)
	}
	return w.Flush()
}

func separator(i int) string {
	if i == 0 {
		return ""
	}
	return ";"
}
