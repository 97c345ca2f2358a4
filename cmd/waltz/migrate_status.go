package main

import (
	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/migrations"
)

func newMigrateStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Print which migrations a database has",
		Long:    "Print which migrations a database has. Nothing is changed, and no file is made.",
		Example: "  waltz migrate status --db sqlite:///var/tmp/view.db --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := mustExist(cmd.Flag("db").Value.String()); err != nil {
				return err
			}
			return onDatabase(cmd, func(m *migrations.Migrator) error {
				all, err := m.Status(cmd.Context())
				if err != nil {
					return err
				}
				return printMigrations(cmd, m, all)
			})
		},
	}
	dbFlags(cmd)
	return cmd
}
