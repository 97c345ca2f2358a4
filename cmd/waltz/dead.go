package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
	if err := errors.Join(checkDB(addr), mustExist(addr)); err != nil {
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
	id, err := letterID(cmd)
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
	switch len(rows) {
	case 0:
		return applier.Row{}, errors.New("the database has no view; waltz dead list shows what there is")
	case 1:
		return rows[0], nil
	}
	return applier.Row{}, usagef("--id means one transaction, there are %d partitions of views: say which with %s", len(rows), telling(rows))
}

// telling are the flags that tell rows apart.
func telling(rows []applier.Row) string {
	names, versions, partitions := map[string]bool{}, map[int]bool{}, map[waltz.Partition]bool{}
	for i := range rows {
		names[rows[i].Name], versions[rows[i].Version], partitions[rows[i].Partition] = true, true, true
	}
	var flags []string
	for _, f := range []struct {
		name    string
		choices int
	}{{"--view", len(names)}, {"--version", len(versions)}, {"--partition", len(partitions)}} {
		if f.choices > 1 {
			flags = append(flags, f.name)
		}
	}
	return strings.Join(flags, " and ")
}

func idFlag(cmd *cobra.Command) {
	cmd.Flags().Int64("id", -1, "ID of the transaction")
}

// letterID reads --id; -1 if it was not given.
func letterID(cmd *cobra.Command) (int64, error) {
	id, err := cmd.Flags().GetInt64("id")
	if err != nil {
		return 0, err
	}
	if id < 0 && cmd.Flags().Changed("id") {
		return 0, usagef("--id %d: transaction IDs start at 0", id)
	}
	return id, nil
}

// noLetter tells why a letter can't be worked with: it is not there, or was discarded.
func noLetter(ctx context.Context, db applier.Letters, r applier.Row, id waltz.ID) error {
	l, found, err := readLetter(ctx, db, r.Ref, id, false)
	switch {
	case err != nil:
		return err
	case found && l.State == applier.LetterDiscarded:
		return fmt.Errorf("letter %d of view %s, partition %d, was discarded by %s (%s): that is for good", id, r.Name, r.Partition, l.ChangedBy, l.Reason)
	case found && l.State == applier.LetterHeld:
		return fmt.Errorf("letter %d of view %s, partition %d, waits behind another that changes the same: retry or discard that one", id, r.Name, r.Partition)
	}
	return fmt.Errorf("view %s has no dead letter %d in partition %d", r.Name, id, r.Partition)
}

// readLetter reads one letter, also one that was discarded.
func readLetter(ctx context.Context, db applier.Letters, r applier.Ref, id waltz.ID, data bool) (l applier.Letter, found bool, err error) {
	page, err := db.List(ctx, r, applier.LetterQuery{After: id - 1, Limit: 1, Data: data, Discarded: true})
	if err != nil {
		return l, false, fmt.Errorf("read waltz_dead_letters: %w", err)
	}
	if len(page) == 0 || page[0].ID != id {
		return l, false, nil
	}
	return page[0], true, nil
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
