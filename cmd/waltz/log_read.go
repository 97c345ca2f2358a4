package main

import (
	"math"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

func newLogRead() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "read",
		Short: "Print committed transactions of one partition",
		Example: `  waltz log read --log waltz://127.0.0.1:7171 --partition 0 --from 100 --to 199
  waltz log read --log file:///var/tmp/waltz --output json`,
		Args: cobra.NoArgs,
		RunE: runLogRead,
	}
	logFlags(cmd)
	partitionFlag(cmd)
	cmd.Flags().Int64("from", 0, "first transaction ID")
	cmd.Flags().Int64("to", -1, "last transaction ID (default: the high-water mark)")
	return cmd
}

func runLogRead(cmd *cobra.Command, _ []string) error {
	p, err := partition(cmd)
	if err != nil {
		return err
	}
	first, last, err := readRange(cmd)
	if err != nil {
		return err
	}
	return onLog(cmd, func(c *waltz.Client) error {
		ctx, cancel := withTimeout(cmd)
		hwm, err := c.HighWaterMark(ctx, p)
		cancel()
		if err != nil {
			return err
		}
		return printRange(cmd, c, p, first, min(last, hwm))
	})
}

// readRange returns what --from and --to ask for.
func readRange(cmd *cobra.Command) (first, last waltz.ID, err error) {
	from, err := cmd.Flags().GetInt64("from")
	if err != nil {
		return 0, 0, err
	}
	to, err := cmd.Flags().GetInt64("to")
	if err != nil {
		return 0, 0, err
	}
	if !cmd.Flags().Changed("to") {
		to = math.MaxInt64
	}
	if from < 0 || to < from {
		return 0, 0, usagef("--from %d --to %d: want 0 <= from <= to", from, to)
	}
	return waltz.ID(from), waltz.ID(to), nil
}

func printRange(cmd *cobra.Command, c *waltz.Client, p waltz.Partition, first, last waltz.ID) error {
	out, err := newRecordPrinter(cmd, p)
	if err != nil {
		return err
	}
	if first > last {
		return out.close()
	}
	for tx, err := range c.Read(cmd.Context(), p, first, last) {
		if err != nil {
			return err
		}
		if err := out.print(tx); err != nil {
			return err
		}
	}
	return out.close()
}
