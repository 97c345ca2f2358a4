package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/waltz-log/waltz/migrations"
)

func newMigrateSQL() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sql",
		Short: "Print the migrations as SQL, for the application's own tool",
		Long: `Print the migrations as SQL, or write each to a file of --dir. --db tells the kind
of database only: nothing connects to it, and it need not exist.`,
		Example: `  waltz migrate sql --db postgres://app@localhost/app --format plain
  waltz migrate sql --db sqlite:///var/tmp/view.db --from 1 --dir migrations`,
		Args: cobra.NoArgs,
		RunE: runMigrateSQL,
	}
	dbFlags(cmd)
	f := cmd.Flags()
	f.Int64("from", 1, "first version")
	f.Int64("to", 0, "last version (default: the last there is)")
	f.String("format", string(migrations.Goose), "goose, with its annotations, or plain")
	f.String("dir", "", "folder to write a file to for each migration (default: print)")
	completeWith(cmd, "format", string(migrations.Goose), string(migrations.Plain))
	return cmd
}

type sqlResult struct {
	Files []sqlFile `json:"files"`
}

type sqlFile struct {
	Name string `json:"name"`
	SQL  string `json:"sql"`
}

func runMigrateSQL(cmd *cobra.Command, _ []string) error {
	f := cmd.Flags()
	from, err := f.GetInt64("from")
	if err != nil {
		return err
	}
	to, err := f.GetInt64("to")
	if err != nil {
		return err
	}
	style := migrations.Format(f.Lookup("format").Value.String())
	if style != migrations.Goose && style != migrations.Plain {
		return usagef("--format %q: want goose or plain", style)
	}
	return onDatabase(cmd, func(m *migrations.Migrator) error {
		files, err := m.SQL(from, to, style)
		if err != nil {
			return usagef("%s: %w", versionFlags(f, from, to), err)
		}
		if dir := f.Lookup("dir").Value.String(); dir != "" {
			return writeSQL(cmd, dir, files)
		}
		return printSQL(cmd, files)
	})
}

// versionFlags are the flags about versions as they were given.
func versionFlags(f *pflag.FlagSet, from, to int64) string {
	text := fmt.Sprintf("--from %d", from)
	if f.Changed("to") {
		text += fmt.Sprintf(" --to %d", to)
	}
	return text
}

func printSQL(cmd *cobra.Command, files []migrations.File) error {
	output, err := format(cmd)
	if err != nil {
		return err
	}
	r := sqlResult{Files: []sqlFile{}}
	for _, file := range files {
		r.Files = append(r.Files, sqlFile(file))
		if output == "table" {
			fmt.Fprintf(cmd.OutOrStdout(), "-- %s\n%s\n", file.Name, file.SQL)
		}
	}
	if output == "table" {
		return nil
	}
	return printObject(cmd, r)
}

// writeSQL writes the files; one that is there already is an error.
func writeSQL(cmd *cobra.Command, dir string, files []migrations.File) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.OpenFile(filepath.Join(dir, file.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		if _, err := f.WriteString(file.SQL); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return printObject(cmd, struct {
		Files int    `json:"files"`
		Dir   string `json:"dir"`
	}{len(files), dir})
}
