package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/waltz"
)

func newDead() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "List, retry and discard transactions that could not be applied",
		Long: `Appliers with the policies DeadLetter and QuarantineKey put a transaction that
can't be applied because of its data into the table waltz_dead_letters, and go on.
Until it is retried or discarded the view is incomplete.`,
		Example: "  waltz dead list --db postgres://app@localhost/app",
	}
	asGroup(cmd)
	cmd.AddCommand(newDeadList(), newDeadShow(), newDeadRetry(), newDeadDiscard())
	return cmd
}

// openLetters opens the dead letters of the database that an address names: a line
// for each kind.
func openLetters(ctx context.Context, addr string) (applier.Letters, error) {
	pool, _, err := openDB(addr) // tells of mistakes in the address
	if err != nil {
		return nil, err
	}
	if err := pool.Close(); err != nil {
		return nil, err
	}
	switch {
	case postgres.IsURL(addr):
		return postgres.OpenLetters(ctx, addr)
	case mysql.IsURL(addr):
		return mysql.OpenLetters(ctx, addr)
	}
	return sqlite.OpenLetters(ctx, addr)
}

// deadFlags are the flags that select the views that a command is about.
func deadFlags(cmd *cobra.Command) {
	dbFlags(cmd)
	f := cmd.Flags()
	f.String("view", "", "name of the view (default: all)")
	f.Int("version", 0, "version of the view (default: all)")
	f.Int("partition", -1, "partition (default: all)")
}

// onLetters does something with the dead letters that the flags select: rows are
// the partitions of the views.
func onLetters(cmd *cobra.Command, do func(db applier.Letters, rows []applier.Row) error) error {
	db, err := openLetters(cmd.Context(), cmd.Flag("db").Value.String())
	if err != nil {
		return err
	}
	rows, err := selected(cmd, db)
	if err == nil {
		err = do(db, rows)
	}
	return errors.Join(err, db.Close())
}

func selected(cmd *cobra.Command, db applier.Letters) ([]applier.Row, error) {
	f := cmd.Flags()
	version, err := f.GetInt("version")
	if err != nil {
		return nil, err
	}
	partition, err := f.GetInt("partition")
	if err != nil {
		return nil, err
	}
	name := f.Lookup("view").Value.String()
	all, err := db.Rows(cmd.Context(), name)
	if err != nil {
		return nil, fmt.Errorf("read waltz_high_water_marks: %w", err)
	}
	var rows []applier.Row
	for _, r := range all {
		if (version == 0 || r.Version == version) && (partition < 0 || int(r.Partition) == partition) {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 && (name != "" || version != 0 || partition >= 0) {
		return nil, errors.New("the database has no such view or partition; waltz dead list shows what there is")
	}
	return rows, nil
}

// onLetter does something with the one letter that --id names.
func onLetter(cmd *cobra.Command, do func(db applier.Letters, r applier.Row, id waltz.ID) error) error {
	id, err := cmd.Flags().GetInt64("id")
	if err != nil {
		return err
	}
	return onLetters(cmd, func(db applier.Letters, rows []applier.Row) error {
		r, err := theOne(rows)
		if err != nil {
			return err
		}
		return do(db, r, waltz.ID(id))
	})
}

// theOne is the row that a transaction ID belongs to, which means something in one
// partition only.
func theOne(rows []applier.Row) (applier.Row, error) {
	if len(rows) != 1 {
		return applier.Row{}, usagef("--id means one transaction, there are %d partitions of views: say which with --view, --version and --partition", len(rows))
	}
	return rows[0], nil
}

func idFlag(cmd *cobra.Command) {
	cmd.Flags().Int64("id", -1, "ID of the transaction")
}

// eachLetter visits letters of a partition page by page, until visit returns false.
func eachLetter(ctx context.Context, db applier.Letters, r applier.Ref, q applier.LetterQuery, visit func(applier.Letter) bool) error {
	for {
		page, err := db.List(ctx, r, q)
		if err != nil {
			return fmt.Errorf("read waltz_dead_letters: %w", err)
		}
		for i := range page {
			if !visit(page[i]) {
				return nil
			}
			q.After = page[i].ID
		}
		if len(page) < q.Limit {
			return nil
		}
	}
}

// lettersPage is how many letters are read at once.
const lettersPage = 500
