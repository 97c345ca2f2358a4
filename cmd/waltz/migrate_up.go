package main

import (
	"database/sql"
	"errors"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/migrations"
)

func newMigrateUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Apply the migrations that a database lacks",
		Long: `Apply the migrations that a database lacks, and print them. Any number of processes
may do so at once; one that is killed is taken over from. What failed is tried
again the next time.

The user needs the right to create tables. Appliers that run with another one need
SELECT, INSERT, UPDATE and DELETE only, and have to find the schema up to date.`,
		Example: `  waltz migrate up --db postgres://ddl@localhost/app
  waltz migrate up --db 'postgres://ddl@localhost/app?search_path=ledger'
  waltz migrate up --db mysql://ddl:secret@localhost:3306/app`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onDatabase(cmd, func(m *migrations.Migrator) error {
				applied, err := m.Up(cmd.Context())
				if err != nil && len(applied) == 0 {
					return err
				}
				return errors.Join(err, printMigrations(cmd, m, applied))
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
