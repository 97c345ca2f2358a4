package main

import "github.com/spf13/cobra"

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "migrate",
		Short:   "Create and update the tables that appliers keep in a database",
		Example: "  waltz migrate up --db sqlite:///var/tmp/view.db",
	}
	asGroup(cmd)
	return cmd
}
