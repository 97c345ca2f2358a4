package main

import "github.com/spf13/cobra"

func newServer() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "server",
		Short:   "Run servers, which own partitions and serve clients",
		Example: "  waltz server run --metadata file:///var/lib/waltz/metadata --listen 10.0.0.1:7171",
	}
	asGroup(cmd)
	cmd.AddCommand(newServerRun())
	return cmd
}
