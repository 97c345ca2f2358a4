package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
)

func newBalances() *cobra.Command {
	var db, asOf string
	c := &cobra.Command{
		Use:   "balances",
		Short: "Print the customers' balances as the view has them",
		Long: `Prints the number, transactions and balance (in 1/100) of each customer's account,
sorted by number. With --as-of, what was booked until the end of that day.`,
		Example: `  ledger balances --db sqlite:///tmp/bank/view.db
  ledger balances --db sqlite:///tmp/bank/view.db --as-of 1993-12-31 --output table`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "db"); err != nil {
				return err
			}
			return printBalances(c, db, asOf)
		},
	}
	c.Flags().StringVar(&db, "db", "", viewForms())
	c.Flags().StringVar(&asOf, "as-of", "", "by booking date, as 2006-01-02 (default: all)")
	outputs(c, "csv", "table", "json")
	return c
}

func printBalances(c *cobra.Command, url, asOf string) (err error) {
	date := ledger.Date("")
	if c.Flag("as-of").Changed {
		if date, err = ledger.ParseDate(asOf); err != nil {
			return usagef("--as-of: %w", err)
		}
	}
	ask, closeDB, err := reader(c.Context(), url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDB()) }()
	out := bufio.NewWriter(c.OutOrStdout())
	p := newBalancePrinter(out, output(c), date)
	if date == "" {
		err = view.Balances(c.Context(), ask, p.print)
	} else {
		err = view.BalancesAsOf(c.Context(), ask, date, p.print)
	}
	return firstOf(err, p.end(), out.Flush())
}

// balancePrinter writes balances in a format, without holding them all.
type balancePrinter struct {
	print func(view.Balance) error
	end   func() error
}

func newBalancePrinter(w *bufio.Writer, format string, asOf ledger.Date) balancePrinter {
	switch format {
	case "json":
		return jsonBalances(w, asOf)
	case "table":
		return tableBalances(w)
	}
	fmt.Fprintln(w, "account_id,transactions,balance_minor")
	return balancePrinter{
		print: func(b view.Balance) error {
			_, err := fmt.Fprintf(w, "%d,%d,%d\n", b.Account, b.Transactions, b.BalanceMinor)
			return err
		},
		end: func() error { return nil },
	}
}

func tableBalances(w *bufio.Writer) balancePrinter {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "account\ttransactions\tbalance\t")
	return balancePrinter{
		print: func(b view.Balance) error {
			_, err := fmt.Fprintf(t, "%d\t%s\t%s\t\n", b.Account, count(b.Transactions), ledger.Amount(b.BalanceMinor))
			return err
		},
		end: t.Flush,
	}
}

// jsonBalances writes one object, whose balances are a list of flat ones.
func jsonBalances(w *bufio.Writer, asOf ledger.Date) balancePrinter {
	accounts, total := int64(0), int64(0)
	fmt.Fprint(w, `{"balances":[`)
	return balancePrinter{
		print: func(b view.Balance) error {
			if accounts > 0 {
				fmt.Fprint(w, ",")
			}
			accounts, total = accounts+1, total+b.BalanceMinor
			_, err := fmt.Fprintf(w, `{"account_id":%d,"transactions":%d,"balance_minor":%d}`, b.Account, b.Transactions, b.BalanceMinor)
			return err
		},
		end: func() error {
			date, err := json.Marshal(asOf)
			fmt.Fprintf(w, `],"as_of":%s,"accounts":%d,"total_minor":%d}`+"\n", date, accounts, total)
			return err
		},
	}
}

func newStatement() *cobra.Command {
	var db string
	c := &cobra.Command{
		Use:     "statement ACCOUNT",
		Short:   "Print what came to an account, in the order of the log",
		Example: "  ledger statement --db sqlite:///tmp/bank/view.db 1787",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := need(c, "db"); err != nil {
				return err
			}
			n, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return usagef("account %q: want its number", args[0])
			}
			return printStatement(c, db, ledger.Account(n))
		},
	}
	c.Flags().StringVar(&db, "db", "", viewForms())
	outputs(c, "table", "json")
	return c
}

// statementLine is a line as JSON has it.
type statementLine struct {
	ID           int64  `json:"id"`
	BookedOn     string `json:"booked_on"`
	Kind         string `json:"kind"`
	Type         string `json:"type"`
	Counterparty int64  `json:"counterparty"`
	AmountMinor  int64  `json:"amount_minor"`
	BalanceMinor int64  `json:"balance_minor"`
	Status       string `json:"status"`
}

func printStatement(c *cobra.Command, url string, a ledger.Account) (err error) {
	ask, closeDB, err := reader(c.Context(), url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDB()) }()
	if _, known, err := view.FindAccount(c.Context(), ask, a); err != nil {
		return err
	} else if !known {
		return fmt.Errorf("%w: %d, as far as this view knows", ledger.ErrNoAccount, a)
	}
	lines := []statementLine{}
	err = view.Statement(c.Context(), ask, a, view.WholeStatement(), func(l view.Line) error {
		lines = append(lines, statementLine{int64(l.ID), string(l.BookedOn), string(l.Kind), l.Type, int64(l.Counterparty), l.AmountMinor, l.BalanceMinor, l.Status})
		return nil
	})
	if err != nil {
		return err
	}
	if output(c) == "json" {
		return printJSON(c.OutOrStdout(), map[string]any{"account_id": a, "lines": lines})
	}
	t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "booked on\ttype\tcounterparty\tamount\tbalance\tstatus\ttransaction\t")
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%d\t\n", l.BookedOn, l.Type, l.Counterparty, ledger.Amount(l.AmountMinor), ledger.Amount(l.BalanceMinor), l.Status, l.ID)
	}
	return t.Flush()
}
