package main

import (
	"database/sql"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/migrations"
)

func newMigrateUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "up",
		Short:   "Apply the migrations that a database lacks",
		Example: "  waltz migrate up --db postgres://app@localhost/app",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onDatabase(cmd, func(m *migrations.Migrator) error {
				applied, err := m.Up(cmd.Context())
				if err != nil {
					return err
				}
				return printMigrations(cmd, m, applied)
			})
		},
	}
	dbFlags(cmd)
	return cmd
}

func newMigrator(cmd *cobra.Command, db *sql.DB, dialect migrations.Dialect) (*migrations.Migrator, error) {
	log, err := logger(cmd)
	if err != nil {
		return nil, err
	}
	return migrations.New(db, dialect, migrations.Options{Logger: log})
}
