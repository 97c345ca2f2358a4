package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

func newLogAt() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "at TIME",
		Short: "Print the first transaction committed at or after a time",
		Long: `Print the ID of the first transaction committed at or after TIME, which is
written as in 2026-01-31T12:00:00Z, or as a duration for so long ago. If nothing
is that late, it is the ID that the next transaction will get.`,
		Example: `  waltz log at --log waltz://127.0.0.1:7171 --partition 0 2026-01-31T12:00:00Z
  waltz log at --log file:///var/tmp/waltz 1h30m`,
		Args: cobra.ExactArgs(1),
		RunE: runLogAt,
	}
	logFlags(cmd)
	partitionFlag(cmd)
	return cmd
}

type atResult struct {
	Partition     waltz.Partition `json:"partition"`
	TransactionID waltz.ID        `json:"transaction_id"`
	Time          time.Time       `json:"time"`
}

func runLogAt(cmd *cobra.Command, args []string) error {
	p, err := partition(cmd)
	if err != nil {
		return err
	}
	t, err := parseTime(args[0], time.Now())
	if err != nil {
		return err
	}
	return onLog(cmd, func(c *waltz.Client) error {
		ctx, cancel := withTimeout(cmd)
		defer cancel()
		id, err := c.At(ctx, p, t)
		if err != nil {
			return err
		}
		return printObject(cmd, atResult{p, id, t.UTC()})
	})
}

// parseTime reads a point in time, or how long before now it was.
func parseTime(s string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(s); err == nil {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, usagef("time %q: want RFC 3339 as in 2026-01-31T12:00:00Z, or a duration as in 90m", s)
	}
	return t, nil
}
