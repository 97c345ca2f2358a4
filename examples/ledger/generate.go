package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/examples/ledger/berka"
)

func newGenerate() *cobra.Command {
	var rows int
	var seed uint64
	var dir string
	c := &cobra.Command{
		Use:   "generate",
		Short: "Make rows in the Berka bank's format, with the balances they come to",
		Long: `Makes DIR/trans.asc and DIR/expected-balances.csv (account_id, transactions,
balance_haler). A seed always makes the same rows. The balances are summed up on
the way and not by the ledger, so that they can be compared with an import.`,
		Example: "  ledger generate --rows 10000 --seed 7 --dir /tmp/bank",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if rows < 1 {
				return usagef("--rows %d: want at least 1", rows)
			}
			return generate(c, dir, rows, seed)
		},
	}
	c.Flags().IntVar(&rows, "rows", 10_000, "how many rows")
	c.Flags().Uint64Var(&seed, "seed", 1, "what the rows are drawn from")
	c.Flags().StringVar(&dir, "dir", ".", "where the two files go")
	outputs(c, "table", "json")
	return c
}

type generated struct {
	Rows     int    `json:"rows"`
	Seed     uint64 `json:"seed"`
	Trans    string `json:"trans"`
	Expected string `json:"expected"`
}

func generate(c *cobra.Command, dir string, rows int, seed uint64) error {
	g := generated{rows, seed, filepath.Join(dir, "trans.asc"), filepath.Join(dir, "expected-balances.csv")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := writeFiles(g); err != nil {
		return err
	}
	if output(c) == "json" {
		return printJSON(c.OutOrStdout(), g)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s rows in %s, their balances in %s\n", count(rows), g.Trans, g.Expected)
	return err
}

func writeFiles(g generated) (err error) {
	trans, err := os.Create(g.Trans)
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, trans.Close()) }()
	expected, err := os.Create(g.Expected)
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, expected.Close()) }()
	return berka.Generate(trans, expected, g.Rows, g.Seed)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
