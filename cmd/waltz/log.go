package main

import (
	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

func newLog() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "Append to a log and look into it",
		Example: "  waltz log hwm --log file:///var/tmp/waltz",
	}
	asGroup(cmd)
	cmd.AddCommand(newLogAppend(), newLogRead(), newLogTail(), newLogHWM(), newLogAt())
	return cmd
}

type hwmResult struct {
	Partition     waltz.Partition `json:"partition"`
	HighWaterMark waltz.ID        `json:"high_water_mark"`
}
