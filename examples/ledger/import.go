package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/examples/ledger/berka"
	"github.com/waltz-log/waltz/txcontext"
)

type importFlags struct {
	log, db                 string
	partitions, concurrency int
	allowOverdraft, skipBad bool
	onPoison                string
}

func newImport() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Import rows in the Berka bank's format",
		Long: `Each row of FILE becomes a transfer between its account and the bank's own account
of the same partition, keyed by its trans_id: run again, also after it was killed,
it adds nothing twice. Rows of one account are committed in the order of the file,
those of different accounts at the same time. It returns when the view shows every
row.

The whole file is checked before anything is imported. Malformed rows are named by
line; nothing is imported then, unless --skip-bad leaves them out and counts them.`,
		Example: `  ledger import --log file:///tmp/bank/log --db sqlite:///tmp/bank/view.db --allow-overdraft trans.asc
  ledger import --log waltz://127.0.0.1:7171 --db postgres://bank:secret@127.0.0.1:5432/bank trans.asc`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.check(c); err != nil {
				return err
			}
			return importFile(c, f, args[0])
		},
	}
	c.Flags().StringVar(&f.log, "log", "", "the log: file:///abs/dir or waltz://host:port,... (required)")
	c.Flags().StringVar(&f.db, "db", "", viewForms())
	c.Flags().IntVar(&f.partitions, "partitions", 0, "how many partitions the log has; one that exists must have as many (default: 1, or as it is)")
	c.Flags().IntVar(&f.concurrency, "concurrency", 128, "how many accounts are imported at a time")
	c.Flags().BoolVar(&f.allowOverdraft, "allow-overdraft", false, "let debits take accounts below zero, which the transactions then say")
	c.Flags().BoolVar(&f.skipBad, "skip-bad", false, "leave out malformed rows and count them")
	poisonFlag(c, &f.onPoison)
	outputs(c, "table", "json")
	return c
}

func (f *importFlags) check(c *cobra.Command) error {
	if err := need(c, "log", "db"); err != nil {
		return err
	}
	if err := checkPartitions(c, f.partitions); err != nil {
		return err
	}
	if f.concurrency < 1 || f.concurrency > 10_000 {
		return usagef("--concurrency %d: want 1 to 10,000", f.concurrency)
	}
	return nil
}

// imported is the result; rows = imported + already_done, and skipped are beside it.
type imported struct {
	Rows        int     `json:"rows"`
	Imported    int64   `json:"imported"`
	AlreadyDone int64   `json:"already_done"`
	Skipped     int     `json:"skipped"`
	Accounts    int     `json:"accounts"`
	Partitions  int     `json:"partitions"`
	Seconds     float64 `json:"seconds"`
	RowsPerSec  float64 `json:"rows_per_sec"`
}

func importFile(c *cobra.Command, f importFlags, file string) error {
	log, err := logger(c)
	if err != nil {
		return err
	}
	policy, err := policyOf(f.onPoison)
	if err != nil {
		return err
	}
	rows, skipped, err := readRows(c, f, file)
	if err != nil {
		return err
	}
	h, err := openHouse(c.Context(), houseOptions{
		log: f.log, db: f.db, partitions: f.partitions, policy: policy, logger: log,
		runner: txcontext.Options{InFlightMax: f.concurrency, AttemptsMax: -1},
	})
	if err != nil {
		return err
	}
	began := time.Now()
	i := &importer{house: h, importFlags: f, stderr: c.ErrOrStderr(), queues: queues(rows)}
	err = errors.Join(h.during(c.Context(), false, func(ctx context.Context) error { return i.run(ctx, len(rows)) }), h.close())
	if err != nil {
		return err
	}
	r := imported{Rows: len(rows), Imported: i.imported.Load(), AlreadyDone: i.alreadyDone.Load(), Skipped: skipped, Accounts: len(i.queues), Partitions: h.client.Partitions()}
	r.Seconds = time.Since(began).Seconds()
	r.RowsPerSec = float64(r.Rows) / r.Seconds
	return r.print(c)
}

func (r imported) print(c *cobra.Command) error {
	if output(c) == "json" {
		return printJSON(c.OutOrStdout(), r)
	}
	return printFields(c.OutOrStdout(),
		[2]string{"rows", count(r.Rows)},
		[2]string{"imported", count(r.Imported)},
		[2]string{"already done", count(r.AlreadyDone)},
		[2]string{"skipped", count(r.Skipped)},
		[2]string{"accounts", count(r.Accounts)},
		[2]string{"partitions", count(r.Partitions)},
		[2]string{"took", fmt.Sprintf("%.1f s, %s rows/s", r.Seconds, count(int64(r.RowsPerSec)))},
	)
}

// badTold is how many malformed rows are told; the rest are counted.
const badTold = 20

// readRows reads and checks the whole file, before anything is opened.
func readRows(c *cobra.Command, f importFlags, name string) (rows []berka.Row, skipped int, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	rows, bad, err := berka.Read(file)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	for i, b := range bad {
		if i == badTold {
			fmt.Fprintf(c.ErrOrStderr(), "%s: and %s more\n", name, count(len(bad)-i))
			break
		}
		fmt.Fprintf(c.ErrOrStderr(), "%s: %v\n", name, b)
	}
	if len(bad) > 0 && !f.skipBad {
		return nil, 0, fmt.Errorf("%s: %s of %s rows are malformed, the first in line %d: nothing was imported; correct them, or leave them out with --skip-bad",
			name, count(len(bad)), count(len(bad)+len(rows)), bad[0].Line)
	}
	return rows, len(bad), nil
}
