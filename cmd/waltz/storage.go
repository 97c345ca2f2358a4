package main

import "github.com/spf13/cobra"

func newStorage() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "storage",
		Short:   "Run and look after storages, which keep replicas of partitions",
		Example: "  waltz storage run --dir /var/lib/waltz/s1 --name s1 --listen 10.0.0.1:7272",
	}
	asGroup(cmd)
	cmd.AddCommand(newStorageRun())
	return cmd
}
