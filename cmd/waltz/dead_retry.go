package main

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

func newDeadRetry() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry",
		Short: "Ask the view's applier to try dead letters again",
		Long: `Mark dead letters as to be tried again. Only the application knows how to apply
them, so its applier does: within a second or so if one runs, else when the next one
starts. Each is applied and deleted in one SQL transaction, in order, with what was
held behind it.

With --wait it tells what became of them, and fails if any is left.`,
		Example: `  waltz dead retry --db sqlite:///var/tmp/view.db --view ledger
  waltz dead retry --db sqlite:///var/tmp/view.db --view ledger --partition 0 --id 4711 --wait 30s`,
		Args: cobra.NoArgs,
		RunE: runDeadRetry,
	}
	deadFlags(cmd)
	idFlag(cmd)
	cmd.Flags().Lookup("id").Usage += " (default: all)"
	cmd.Flags().Duration("wait", 0, "wait at most so long for what becomes of them (default: don't wait)")
	return cmd
}

type retryResult struct {
	Asked   int  `json:"asked"`
	Waited  bool `json:"waited"`
	Applied int  `json:"applied"`
	Failed  int  `json:"failed"`
	Waiting int  `json:"waiting"`
}

func runDeadRetry(cmd *cobra.Command, _ []string) error {
	id, err := letterID(cmd)
	if err != nil {
		return err
	}
	wait, err := cmd.Flags().GetDuration("wait")
	if err != nil {
		return err
	}
	if wait < 0 {
		return usagef("--wait %s: want 0, for not waiting, or more", wait)
	}
	return onLetters(cmd, func(db applier.Letters, rows []applier.Row) error {
		first, last := waltz.ID(0), waltz.ID(math.MaxInt64)
		if id >= 0 {
			r, err := theOne(rows)
			if err != nil {
				return err
			}
			first, last, rows = waltz.ID(id), waltz.ID(id), []applier.Row{r}
		}
		t := retry{cmd: cmd, db: db, rows: rows, first: first, last: last}
		if err := t.ask(); err != nil {
			return err
		}
		if t.result.Asked == 0 && id >= 0 {
			return noLetter(cmd.Context(), db, rows[0], waltz.ID(id))
		}
		if wait > 0 {
			return t.wait(wait)
		}
		return printObject(cmd, t.result)
	})
}

// retry is one call of the command.
type retry struct {
	cmd         *cobra.Command
	db          applier.Letters
	rows        []applier.Row
	first, last waltz.ID
	result      retryResult
}

func (t *retry) ask() error {
	for _, r := range t.rows {
		if r.Dead == 0 {
			continue
		}
		n, err := t.db.Ask(t.cmd.Context(), r.Ref, t.first, t.last, whoami())
		if err != nil {
			return fmt.Errorf("view %s: ask for a retry in partition %d: %w", r.Name, r.Partition, err)
		}
		t.result.Asked += n
	}
	return nil
}

// waitEvery is how often the letters are looked at.
const waitEvery = 100 * time.Millisecond

// wait looks until nothing is waiting any more, or the time is over.
func (t *retry) wait(most time.Duration) error {
	t.result.Waited = true
	over := time.After(most)
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	for {
		if err := t.look(); err != nil {
			return err
		}
		if t.result.Waiting == 0 {
			return t.end()
		}
		select {
		case <-tick.C:
		case <-over:
			return t.end()
		case <-t.cmd.Context().Done():
			return t.cmd.Context().Err()
		}
	}
}

func (t *retry) look() error {
	t.result.Failed, t.result.Waiting = 0, 0
	for _, r := range t.rows {
		err := eachLetter(t.cmd.Context(), t.db, r.Ref, applier.LetterQuery{After: t.first - 1, Limit: lettersPage}, func(l applier.Letter) bool {
			switch {
			case l.ID > t.last:
				return false
			case l.State == applier.LetterRetry:
				t.result.Waiting++
			case l.State == applier.LetterDead:
				t.result.Failed++
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	t.result.Applied = max(0, t.result.Asked-t.result.Failed-t.result.Waiting)
	return nil
}

func (t *retry) end() error {
	if err := printObject(t.cmd, t.result); err != nil {
		return err
	}
	if left := t.result.Failed + t.result.Waiting; left > 0 {
		return fmt.Errorf("%d of %d could not be applied, or not yet: waltz dead list tells why", left, t.result.Asked)
	}
	return nil
}

// whoami names who gave a command, for the record.
func whoami() string {
	host, _ := os.Hostname() // without it the user's name has to do
	return fmt.Sprintf("%.40s@%.50s", cmp.Or(os.Getenv("USER"), fmt.Sprint("uid ", os.Getuid())), host)
}
