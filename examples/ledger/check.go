package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/examples/ledger/audit"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/waltz"
)

func newCheck() *cobra.Command {
	var log, db string
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the log's books, and the view against the log",
		Long: `Replays the log and checks that the books balance to zero, that no account went
below zero without allowance, and that the transit accounts hold exactly the pending
transfers. Then it replays the log into a scratch SQLite database and compares it
with the view, row by row. The view is brought up to the log's end first.

Exits with 1 if anything is wrong, or if it can't be found out. With --output json
the one object then says "check":"failed", and as "reason" why.`,
		Example: "  ledger check --log file:///tmp/bank/log --db sqlite:///tmp/bank/view.db",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := need(c, "log", "db"); err != nil {
				return err
			}
			return check(c, log, db)
		},
	}
	c.Flags().StringVar(&log, "log", "", "the log: file:///abs/dir or waltz://host:port,... (required)")
	c.Flags().StringVar(&db, "db", "", viewForms())
	outputs(c, "text", "json")
	return c
}

// checked is the result.
type checked struct {
	Check        string `json:"check"` // "ok" or "failed"
	Transactions int64  `json:"transactions"`
	Accounts     int64  `json:"accounts"`
	Pending      int64  `json:"pending"`
	PendingMinor int64  `json:"pending_minor"`
	Problems     int    `json:"problems"`
	Reason       string `json:"reason,omitempty"` // why it failed
}

// unchecked is the result of a check that came to no end: it has no figures.
type unchecked struct {
	Check  string `json:"check"` // "failed"
	Reason string `json:"reason"`
}

var errCheckFailed = errors.New("check failed")

func check(c *cobra.Command, log, db string) error {
	r, err := examine(c, log, db)
	if err != nil {
		return printUnchecked(c, err)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(c.ErrOrStderr(), p)
	}
	failed := verdict(r)
	return errors.Join(failed, printChecked(c, r, failed))
}

// examine opens log and view and audits them.
func examine(c *cobra.Command, log, db string) (r *audit.Report, err error) {
	logger, err := logger(c)
	if err != nil {
		return nil, err
	}
	if _, err := existing(c.Context(), db); err != nil {
		return nil, err
	}
	h, err := openHouse(c.Context(), houseOptions{log: log, db: db, mustExist: true, logger: logger})
	if err != nil {
		return nil, err
	}
	err = h.during(c.Context(), false, func(ctx context.Context) error {
		r, err = h.audit(ctx)
		return err
	})
	return r, errors.Join(err, h.close())
}

// printUnchecked prints the one object that a script reads also when there is
// nothing to tell but why, and returns why. A mistake in the command line is no
// result: as with every command, it prints none.
func printUnchecked(c *cobra.Command, why error) error {
	if isUsage(why) || output(c) != "json" {
		return why
	}
	return errors.Join(why, printJSON(c.OutOrStdout(), unchecked{"failed", why.Error()}))
}

func verdict(r *audit.Report) error {
	if r.OK() {
		return nil
	}
	if r.ProblemCount == 1 {
		return fmt.Errorf("%w: 1 problem", errCheckFailed)
	}
	return fmt.Errorf("%w: %s problems", errCheckFailed, count(r.ProblemCount))
}

func printChecked(c *cobra.Command, r *audit.Report, failed error) error {
	result := checked{"ok", r.Transactions, r.Accounts, r.Pending, r.PendingMinor, r.ProblemCount, ""}
	if failed != nil {
		result.Check, result.Reason = "failed", failed.Error()
	}
	if output(c) == "json" {
		return printJSON(c.OutOrStdout(), result)
	}
	return printFields(c.OutOrStdout(),
		[2]string{"check", result.Check},
		[2]string{"transactions", count(result.Transactions)},
		[2]string{"accounts", count(result.Accounts)},
		[2]string{"pending", count(result.Pending)},
	)
}

// replaysMax is how often the comparison is tried while others write.
const replaysMax = 5

// audit replays the log twice: for its books, and into a scratch view that is
// compared with the live one. Both views must be of the same moment, so it is tried
// again if the log has moved on meanwhile.
func (h *house) audit(ctx context.Context) (*audit.Report, error) {
	dir, err := os.MkdirTemp("", "ledger-check-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	scratch := &house{client: h.client, logger: discard()}
	db, err := database("sqlite://" + filepath.Join(dir, "scratch.db"))
	if err != nil {
		return nil, err
	}
	if err := scratch.openView(ctx, db); err != nil {
		return nil, errors.Join(fmt.Errorf("open scratch view: %w", err), scratch.closeView())
	}
	var r *audit.Report
	err = scratch.during(ctx, false, func(ctx context.Context) error {
		for range replaysMax {
			var moved bool
			if r, moved, err = h.compare(ctx, scratch); err != nil || !moved {
				return err
			}
		}
		return fmt.Errorf("log is being written to: it moved on during each of %d comparisons; check again when it is quiet", replaysMax)
	})
	return r, errors.Join(err, scratch.closeView())
}

// compare audits log and view at one moment; moved says that there was none.
func (h *house) compare(ctx context.Context, scratch *house) (r *audit.Report, moved bool, err error) {
	before, err := h.marks(ctx)
	if err != nil {
		return nil, false, err
	}
	if err := errors.Join(h.caughtUp(ctx), scratch.caughtUp(ctx)); err != nil {
		return nil, false, err
	}
	if r, err = audit.Replay(ctx, h.client); err != nil {
		return nil, false, err
	}
	err = h.view.Snapshot(ctx, 0, func(ctx context.Context, live view.Snapshot, _ waltz.ID) error {
		return scratch.view.Snapshot(ctx, 0, func(ctx context.Context, replayed view.Snapshot, _ waltz.ID) error {
			return r.Tables(ctx, live.Querier, replayed.Querier)
		})
	})
	if err != nil {
		return nil, false, err
	}
	after, err := h.marks(ctx)
	return r, before != after, err
}

// marks writes the log's high-water marks.
func (h *house) marks(ctx context.Context) (string, error) {
	var all []waltz.ID
	for p := range waltz.Partition(h.client.Partitions()) {
		mark, err := h.client.HighWaterMark(ctx, p)
		if err != nil {
			return "", err
		}
		all = append(all, mark)
	}
	return fmt.Sprint(all), nil
}
