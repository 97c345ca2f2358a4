package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

func newDeadList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print which views are incomplete, and why",
		Long: `Print the dead letters of a database. The state is dead if somebody has to decide,
held if it waits behind another that changes the same, retry if a retry was asked for
and no applier has come to it yet, discarded if it will never be applied.`,
		Example: `  waltz dead list --db sqlite:///var/tmp/view.db
  waltz dead list --db postgres://app@localhost/app --view ledger --output json`,
		Args: cobra.NoArgs,
		RunE: runDeadList,
	}
	deadFlags(cmd)
	cmd.Flags().Bool("discarded", false, "print those that were discarded, too")
	cmd.Flags().Int("limit", 1000, "print at most so many")
	return cmd
}

type deadResult struct {
	Views   []viewJSON   `json:"views"`
	Letters []letterJSON `json:"letters"`
	More    bool         `json:"more"` // than the limit
}

// viewJSON is one partition of a view.
type viewJSON struct {
	View            string          `json:"view"`
	Version         int             `json:"version"`
	Partition       waltz.Partition `json:"partition"`
	HighWaterMark   waltz.ID        `json:"high_water_mark"`
	Dead            int             `json:"dead"`
	Held            int             `json:"held"`
	Skipped         int64           `json:"skipped"`
	IncompleteSince *waltz.ID       `json:"incomplete_since"` // null: the view is complete
}

type letterJSON struct {
	View      string              `json:"view"`
	Version   int                 `json:"version"`
	Partition waltz.Partition     `json:"partition"`
	State     applier.LetterState `json:"state"`
	Kind      string              `json:"kind"`
	ViewKeys  string              `json:"view_keys,omitempty"`
	Class     string              `json:"class"`
	Code      string              `json:"code"`
	Error     string              `json:"error"`
	Attempts  int                 `json:"attempts"`
	FailedAt  time.Time           `json:"failed_at"`
	Instance  string              `json:"instance"`
	Reason    string              `json:"reason,omitempty"`
	ChangedBy string              `json:"changed_by,omitempty"`
	recordJSON
}

func toLetterJSON(r applier.Ref, l *applier.Letter, data bool) letterJSON {
	l.Skipped = !data
	return letterJSON{
		View: r.Name, Version: r.Version, Partition: r.Partition, State: l.State, Kind: l.Kind, ViewKeys: l.ViewKeys,
		Class: l.Class, Code: l.Code, Error: l.Text, Attempts: l.Attempts, FailedAt: l.FailedAt, Instance: l.Instance,
		Reason: l.Reason, ChangedBy: l.ChangedBy, recordJSON: toJSON(l.Committed),
	}
}

func runDeadList(cmd *cobra.Command, _ []string) error {
	limit, err := cmd.Flags().GetInt("limit")
	if err != nil {
		return err
	}
	discarded, err := cmd.Flags().GetBool("discarded")
	if err != nil {
		return err
	}
	if limit < 1 {
		return usagef("--limit %d: want 1 or more", limit)
	}
	return onLetters(cmd, func(db applier.Letters, rows []applier.Row) error {
		out := deadResult{Views: []viewJSON{}, Letters: []letterJSON{}}
		for _, r := range rows {
			out.Views = append(out.Views, toViewJSON(r))
			q := applier.LetterQuery{After: waltz.None, Limit: lettersPage, Discarded: discarded}
			err := eachLetter(cmd.Context(), db, r.Ref, q, func(l applier.Letter) bool {
				if out.More = len(out.Letters) == limit; !out.More {
					out.Letters = append(out.Letters, toLetterJSON(r.Ref, &l, false))
				}
				return !out.More
			})
			if err != nil {
				return err
			}
		}
		return printDead(cmd, out)
	})
}

func toViewJSON(r applier.Row) viewJSON {
	v := viewJSON{
		View: r.Name, Version: r.Version, Partition: r.Partition, HighWaterMark: r.HighWaterMark,
		Dead: r.Dead, Held: r.Held, Skipped: r.Skipped,
	}
	if r.FirstDead != waltz.None {
		v.IncompleteSince = &r.FirstDead
	}
	return v
}

func printDead(cmd *cobra.Command, out deadResult) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, out)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	for _, v := range out.Views {
		state := "complete"
		if v.IncompleteSince != nil {
			state = fmt.Sprintf("incomplete since transaction %d: %d dead letters, %d of them held", *v.IncompleteSince, v.Dead, v.Held)
		}
		if v.Skipped > 0 {
			state += fmt.Sprintf(", %d skipped", v.Skipped)
		}
		fmt.Fprintf(w, "view %s version %d partition %d at %d\t%s\n", v.View, v.Version, v.Partition, v.HighWaterMark, state)
	}
	if len(out.Letters) > 0 {
		fmt.Fprintln(w, "\nVIEW\tVERSION\tPARTITION\tID\tSTATE\tKIND\tCODE\tATTEMPTS\tFAILED\tREASON")
	}
	for _, l := range out.Letters {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%s\t%s\t%s\t%d\t%s\t%s\n",
			l.View, l.Version, l.Partition, l.TransactionID, l.State, l.Kind, l.Code, l.Attempts, l.FailedAt.Format(time.RFC3339), l.Reason)
	}
	if out.More {
		fmt.Fprintln(w, "there are more: raise --limit")
	}
	return w.Flush()
}
