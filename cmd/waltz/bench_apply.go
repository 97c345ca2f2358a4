package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/cmd/waltz/internal/applybench"
	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/waltz"
)

func newBenchApply() *cobra.Command {
	var o applybench.Options
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Measure appliers beside hand-written SQL",
		Long: `Append transfers between accounts to a log, and apply them to the tables of a ledger:
with handlers for single records and with handlers for batches, of one partition and
of several. In the same run the same work is done with SQL by hand: read from the
same log by the same client, decoded in the same way, into the same tables with
the same keys, up to 5,000 transactions in one SQL transaction with the mark in it.

by hand      per record                           per batch
PostgreSQL   one pipelined pgx batch              arrays, unnest
MySQL        row by row, arguments in the text    rows of one statement, on duplicate key
SQLite       prepared statements                  rows of one statement

Of each the best of --rounds counts; the work takes turns. Single records are a
fifth of --transactions. cpu_us_per_tx is the CPU of this process, which reads the
log, decodes and talks to the database: with SQLite, that is everything. Afterwards,
on the idle log, transactions are appended one by one: idle_applied is the time from
the appender's answer until the view shows the transaction, idle_commit that of an SQL
transaction of one statement, committed right after it. idle_beyond is by how much the
one took longer than the other, of each pair.

Nothing that is in the database is touched. What is made there is in a schema of its
own (PostgreSQL), a database of its own (MySQL, MariaDB: the user must be allowed to make
one) or in a folder beside the file (SQLite), named waltz_bench_..., and is dropped
in the end. The log keeps what is appended: without --log it is a temporary one.`,
		Example: `  waltz bench apply --db postgres://app@localhost/app
  waltz bench apply --log waltz://127.0.0.1:7171 --db mysql://app:secret@localhost:3306/app --output json
  waltz bench apply --db sqlite:///var/tmp/bench.db --transactions 20000 --partitions 1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBenchApply(cmd, o) },
	}
	f := cmd.Flags()
	f.String("log", "", "address of the log: waltz://host:port,... or file:///dir (default: a temporary one)")
	f.String("cluster", "", "fail unless the log has this cluster key")
	f.Duration("timeout", 10*time.Second, "how long to wait for the log to answer")
	dbFlags(cmd)
	mayCreate(cmd)
	f.IntVar(&o.Partitions, "partitions", 4, "partitions to apply at once, beside one")
	f.IntVar(&o.Transactions, "transactions", 50_000, "transactions of a case")
	f.IntVar(&o.Rounds, "rounds", 3, "how often each case is measured")
	f.IntVar(&o.Idle, "idle", 200, "transactions appended one by one on the idle log; 0 leaves it out")
	f.String("profile", "", "write a CPU profile of this process to the file, with the label keys=waltz_keys or hand_keys")
	return cmd
}

func runBenchApply(cmd *cobra.Command, o applybench.Options) (err error) {
	o.Database = cmd.Flag("db").Value.String()
	if err := checkDB(o.Database); err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return usagef("%w", err)
	}
	if o.Logger, err = logger(cmd); err != nil {
		return err
	}
	o.Progress = func(what string) { fmt.Fprintln(cmd.ErrOrStderr(), what) }
	return onBenchLog(cmd, o.Partitions, func(c *waltz.Client) error {
		o.Client = c
		if _, err := benchPartitions(c, o.Partitions); err != nil {
			return err
		}
		stop, err := profile(cmd.Flag("profile").Value.String())
		if err != nil {
			return err
		}
		f, err := applybench.Run(cmd.Context(), o)
		if err := errors.Join(err, stop()); err != nil {
			return err
		}
		return printApply(cmd, f)
	})
}

// onBenchLog does something with the log that the flags name, or with a temporary one.
func onBenchLog(cmd *cobra.Command, partitions int, do func(c *waltz.Client) error) (err error) {
	if cmd.Flag("log").Value.String() != "" {
		return onLog(cmd, do)
	}
	dir, err := os.MkdirTemp("", "waltz_bench_")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	addr := (&url.URL{Scheme: embedded.Scheme.Name, Path: dir, RawQuery: fmt.Sprintf("partitions=%d", partitions)}).String()
	c, err := waltz.Dial(cmd.Context(), addr, waltz.WithSchemes(embedded.NewScheme(embedded.Options{Mode: embedded.OpenOrCreate})))
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// figure is one value, by its name in JSON.
type figure struct {
	name  string
	value any
}

// figures are an object whose keys are known at run time only, in their order.
type figures []figure

// MarshalJSON implements json.Marshaler.
func (f figures) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, x := range f {
		b.WriteByte("{,"[min(i, 1)])
		value, err := json.Marshal(x.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", x.name, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func printApply(cmd *cobra.Command, f applybench.Figures) error {
	out, err := format(cmd)
	if err != nil {
		return err
	}
	if out == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(applyFigures(f))
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HANDLERS\tPARTITIONS\tTRANSACTIONS\tTX_PER_SEC\tHAND_TX_PER_SEC\tRATIO\tCPU_US_PER_TX\tHAND_CPU_US_PER_TX")
	for _, c := range f.Cases {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.0f\t%.0f\t%.2f\t%.1f\t%.1f\n", c.Way, c.Partitions, c.Transactions, c.View.PerSec, c.Hand.PerSec, c.Ratio(), c.View.CPU, c.Hand.CPU)
	}
	if err := w.Flush(); err != nil || f.Idle == nil {
		return err
	}
	fmt.Fprintln(w)
	for _, x := range idleFigures(f.Idle) {
		fmt.Fprintf(w, "%s\t%s\n", x.name, fieldText(x.value))
	}
	return w.Flush()
}

func applyFigures(f applybench.Figures) figures {
	all := figures{{"database", f.Database}}
	for _, c := range f.Cases {
		prefix := fmt.Sprintf("%s_partitions_%d_", c.Way, c.Partitions)
		all = append(
			all, figure{prefix + "transactions", c.Transactions},
			figure{prefix + "tx_per_sec", c.View.PerSec}, figure{prefix + "hand_tx_per_sec", c.Hand.PerSec}, figure{prefix + "ratio", c.Ratio()},
			figure{prefix + "cpu_us_per_tx", c.View.CPU}, figure{prefix + "hand_cpu_us_per_tx", c.Hand.CPU},
		)
	}
	if f.Idle != nil {
		all = append(all, idleFigures(f.Idle)...)
	}
	return all
}

func idleFigures(i *applybench.Idle) figures {
	return figures{
		{"idle_applied_p50_ms", millis(i.AppliedP50)},
		{"idle_applied_p99_ms", millis(i.AppliedP99)},
		{"idle_commit_p50_ms", millis(i.CommitP50)},
		{"idle_commit_p99_ms", millis(i.CommitP99)},
		{"idle_beyond_p50_ms", millis(i.BeyondP50)},
		{"idle_beyond_p99_ms", millis(i.BeyondP99)},
	}
}
