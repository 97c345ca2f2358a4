package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/migrations"
)

func newMigrate() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "migrate",
		Short:   "Create and update the tables that appliers keep in a database",
		Example: "  waltz migrate up --db sqlite:///var/tmp/view.db",
	}
	asGroup(cmd)
	cmd.AddCommand(newMigrateUp(), newMigrateStatus(), newMigrateSQL())
	return cmd
}

// migrationsResult is what up has applied, or all that status has found.
type migrationsResult struct {
	SchemaVersion int64           `json:"schema_version"`
	KnownVersion  int64           `json:"known_version"`
	Migrations    []migrationJSON `json:"migrations"`
}

type migrationJSON struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

// onDatabase does something with the migrations of the database that the flags
// name.
func onDatabase(cmd *cobra.Command, do func(m *migrations.Migrator) error) error {
	db, dialect, err := openDB(cmd.Flag("db").Value.String())
	if err != nil {
		return err
	}
	m, err := newMigrator(cmd, db, dialect)
	if err == nil {
		err = do(m)
	}
	return errors.Join(err, db.Close())
}

func printMigrations(cmd *cobra.Command, m *migrations.Migrator, list []migrations.Migration) error {
	version, err := m.Version(cmd.Context())
	if err != nil {
		return err
	}
	r := migrationsResult{SchemaVersion: version, KnownVersion: m.Known(), Migrations: []migrationJSON{}}
	for _, one := range list {
		r.Migrations = append(r.Migrations, migrationJSON(one))
	}
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, r)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	if r.SchemaVersion > r.KnownVersion {
		fmt.Fprintf(w, "schema is at version %d, newer than the %d that this program knows\n", r.SchemaVersion, r.KnownVersion)
	} else {
		fmt.Fprintf(w, "schema is at version %d of %d\n", r.SchemaVersion, r.KnownVersion)
	}
	for _, one := range r.Migrations {
		state := "pending"
		if one.Applied {
			state = "applied"
		}
		fmt.Fprintf(w, "%s\t%s\n", one.Name, state)
	}
	return w.Flush()
}
