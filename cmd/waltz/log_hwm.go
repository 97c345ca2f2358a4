package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

func newLogHWM() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hwm",
		Short: "Print the high-water mark: the ID of the last committed transaction, -1 if none",
		Example: `  waltz log hwm --log waltz://127.0.0.1:7171
  waltz log hwm --log waltz://127.0.0.1:7171 --partition 3 --output json`,
		Args: cobra.NoArgs,
		RunE: runLogHWM,
	}
	logFlags(cmd)
	cmd.Flags().Int32("partition", 0, "partition, from 0 (default: all)")
	return cmd
}

type hwmsResult struct {
	Partitions     int        `json:"partitions"`
	HighWaterMarks []waltz.ID `json:"high_water_marks"`
}

func runLogHWM(cmd *cobra.Command, _ []string) error {
	p, err := partition(cmd)
	if err != nil {
		return err
	}
	return onLog(cmd, func(c *waltz.Client) error {
		ctx, cancel := withTimeout(cmd)
		defer cancel()
		if !cmd.Flags().Changed("partition") {
			return allHWMs(ctx, cmd, c)
		}
		hwm, err := c.HighWaterMark(ctx, p)
		if err != nil {
			return err
		}
		return printObject(cmd, hwmResult{p, hwm})
	})
}

func allHWMs(ctx context.Context, cmd *cobra.Command, c *waltz.Client) error {
	all := hwmsResult{Partitions: c.Partitions()}
	for p := range waltz.Partition(c.Partitions()) {
		hwm, err := c.HighWaterMark(ctx, p)
		if err != nil {
			return err
		}
		all.HighWaterMarks = append(all.HighWaterMarks, hwm)
	}
	return printHWMs(cmd, all)
}

func printHWMs(cmd *cobra.Command, all hwmsResult) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, all)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "partition\thigh_water_mark\t")
	for p, hwm := range all.HighWaterMarks {
		fmt.Fprintf(w, "%d\t%d\t\n", p, hwm)
	}
	return w.Flush()
}
