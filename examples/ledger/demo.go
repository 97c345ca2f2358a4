package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/examples/ledger/audit"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/txcontext"
)

const (
	demoAccounts   = 1_000
	demoTransfers  = 20_000
	demoClients    = 64
	demoPartitions = 4
)

func newDemo() *cobra.Command {
	var dir, db string
	var seed uint64
	var transfers int
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run 20,000 transfers on an embedded log and a view, then check them",
		Long: `Opens 1,000 accounts and runs 20,000 transfers from many clients over hot and cold
accounts, some across partitions, some refused, then checks log and view. All in this
process: a durable log and a SQLite view, in a folder of their own; or, with --db, a
view in another database.

With the --dir (and --db) of an earlier run it goes on there, with accounts of its own,
and first finishes what that one left pending.`,
		Example: `  ledger demo
  ledger demo --dir /tmp/bank --seed 7 --output json
  ledger demo --dir /tmp/bank2 --db postgres://bank:secret@127.0.0.1:5432/bank`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return demo(c, dir, db, seed, transfers) },
	}
	c.Flags().StringVar(&dir, "dir", "", "where log and view go (default: a new folder in the system's temp folder)")
	c.Flags().StringVar(&db, "db", "", "the view: "+strings.Join(view.Forms(), ", ")+" (default: SQLite in --dir)")
	c.Flags().Uint64Var(&seed, "seed", 1, "what the transfers are drawn from")
	c.Flags().IntVar(&transfers, "transfers", demoTransfers, "how many transfers")
	_ = c.Flags().MarkHidden("transfers") // for tests; the flag is there
	outputs(c, "table", "json")
	return c
}

// demoResult is the result as JSON has it; committed + declined = transfers.
type demoResult struct {
	Accounts     int     `json:"accounts"`
	Transfers    int     `json:"transfers"`
	Committed    int64   `json:"committed"`
	Declined     int64   `json:"declined"`
	Conflicts    int64   `json:"conflicts"`
	Retries      int64   `json:"retries"`
	AppendP50Ms  float64 `json:"append_p50_ms"`
	AppendP99Ms  float64 `json:"append_p99_ms"`
	AppliedP50Ms float64 `json:"applied_p50_ms"`
	AppliedP99Ms float64 `json:"applied_p99_ms"`
	TxPerSec     float64 `json:"tx_per_sec"`
	Check        string  `json:"check"`
}

// demoFolder is where things lie.
type demoFolder struct{ dir, log, db string }

func newDemoFolder(dir, db string) (f demoFolder, err error) {
	if dir == "" {
		f.dir, err = os.MkdirTemp("", "ledger-demo-")
	} else if f.dir, err = filepath.Abs(dir); err == nil {
		err = os.MkdirAll(f.dir, 0o755)
	}
	f.log = "file://" + filepath.Join(f.dir, "log")
	f.db = db
	if db == "" {
		f.db = "sqlite://" + filepath.Join(f.dir, "view.db")
	}
	return f, err
}

func demo(c *cobra.Command, dir, db string, seed uint64, transfers int) error {
	if transfers < 1 {
		return usagef("--transfers %d: want at least 1", transfers)
	}
	logger, err := logger(c)
	if err != nil {
		return err
	}
	folder, err := newDemoFolder(dir, db)
	if err != nil {
		return err
	}
	d := newLoad(seed, transfers, c.ErrOrStderr())
	fmt.Fprintf(c.ErrOrStderr(), "log in %s\n", folder.log)
	d.house, err = openHouse(c.Context(), houseOptions{
		log: folder.log, db: folder.db, partitions: demoPartitions, logger: logger,
		runner: txcontext.Options{InFlightMax: demoClients, AttemptsMax: -1, Hooks: d.hooks()},
	})
	if err != nil {
		return err
	}
	var r *audit.Report
	err = d.during(c.Context(), true, func(ctx context.Context) error {
		if err := d.run(ctx); err != nil {
			return err
		}
		fmt.Fprintln(c.ErrOrStderr(), "checking: replaying the log into a scratch view")
		if err := d.caughtUp(ctx); err != nil {
			return err
		}
		view, err := database(folder.db)
		if err == nil {
			r, err = auditAll(ctx, d.client, view)
		}
		return err
	})
	if err = errors.Join(err, d.close()); err != nil {
		return err
	}
	return d.conclude(c, folder, r)
}

// conclude prints the result, and fails if the books are wrong or nothing was
// proved since no two clients ever met.
func (d *load) conclude(c *cobra.Command, f demoFolder, r *audit.Report) error {
	for _, p := range r.Problems {
		fmt.Fprintln(c.ErrOrStderr(), p)
	}
	if err := d.print(c, f, r); err != nil {
		return err
	}
	if d.conflicts.Load() == 0 {
		return errors.New("there was not a single lock conflict: the demo shows nothing")
	}
	return verdict(r)
}

func (d *load) print(c *cobra.Command, f demoFolder, report *audit.Report) error {
	r := d.result()
	if !report.OK() {
		r.Check = "failed"
	}
	if output(c) == "json" {
		return printJSON(c.OutOrStdout(), r)
	}
	shown := f.db
	if u, err := url.Parse(f.db); err == nil {
		shown = u.Redacted()
	}
	err := printFields(c.OutOrStdout(),
		[2]string{"accounts", count(r.Accounts)},
		[2]string{"transfers", fmt.Sprintf("%s, %s of them across partitions", count(r.Transfers), count(d.crossing))},
		[2]string{"committed", count(r.Committed)},
		[2]string{"declined", count(r.Declined) + " (balance did not suffice)"},
		[2]string{"returned", count(d.returned) + " (no such account in the other partition)"},
		[2]string{"lock conflicts", count(r.Conflicts)},
		[2]string{"retries", count(r.Retries)},
		[2]string{"append latency", fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", r.AppendP50Ms, r.AppendP99Ms)},
		[2]string{"applied latency", fmt.Sprintf("p50 %.2f ms, p99 %.2f ms (with retries, until the view shows it)", r.AppliedP50Ms, r.AppliedP99Ms)},
		[2]string{"throughput", count(int64(r.TxPerSec)) + " transfers/s"},
		[2]string{"check", r.Check},
		[2]string{"log", f.log},
		[2]string{"view", shown},
	)
	fmt.Fprintf(c.OutOrStdout(), `
What to try next:
  %[5]s balances --db %[2]s --output table | head
  %[5]s statement --db %[2]s %[4]d
  %[5]s check --log %[1]s --db %[2]s
  %[5]s demo --dir %[3]s --db %[2]s --seed 2
  %[6]s log tail --log %[1]s --from 0 --count 10
`, f.log, shown, f.dir, d.base+1, os.Args[0], filepath.Join(filepath.Dir(os.Args[0]), "waltz"))
	return err
}
