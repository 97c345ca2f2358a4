package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/examples/ledger/audit"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
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
transfers. Then it replays the log into a scratch SQLite database, as far as the view's
own mark, and compares it with the view, row by row. It changes neither log nor view, and
others may write to both meanwhile.

A view that is behind the log is not wrong: it is told how far. One that is ahead of the
log is, as is one that has dead letters which nobody has retried or discarded.

Exits with 1 if anything is wrong, or if it can't be found out. With --output json
the one object then says "check":"failed", as "reason" why, and in "differences" what
was found.`,
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
	outputs(c, "table", "json")
	return c
}

// checked is the result.
type checked struct {
	Check        string `json:"check"` // "ok" or "failed"
	Transactions int64  `json:"transactions"`
	Accounts     int64  `json:"accounts"`
	Pending      int64  `json:"pending"`
	PendingMinor int64  `json:"pending_minor"`
	Behind       int64  `json:"behind"`       // transactions that the view does not show yet
	DeadLetters  int    `json:"dead_letters"` // that are open
	Problems     int    `json:"problems"`
	Reason       string `json:"reason,omitempty"` // why it failed

	Differences []string `json:"differences"` // the first of the problems, in words
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
func examine(c *cobra.Command, log, address string) (r *audit.Report, err error) {
	logger, err := logger(c)
	if err != nil {
		return nil, err
	}
	db, err := database(address)
	if err != nil {
		return nil, err
	}
	if err := db.Exists(c.Context()); errors.Is(err, os.ErrNotExist) {
		return nil, err // before a log is opened in vain
	}
	client, err := dial(c.Context(), houseOptions{log: log, mustExist: true, logger: logger})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return auditAll(c.Context(), client, db)
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
	result := checked{
		Check: "ok", Transactions: r.Transactions, Accounts: r.Accounts, Pending: r.Pending, PendingMinor: r.PendingMinor,
		Behind: r.Behind, DeadLetters: r.DeadLetters, Problems: r.ProblemCount, Differences: r.Problems,
	}
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
		[2]string{"view", standing(r.Behind)},
	)
}

// standing tells how far the view is.
func standing(behind int64) string {
	switch behind {
	case 0:
		return "shows all of the log"
	case 1:
		return "is 1 transaction behind the log"
	}
	return "is " + count(behind) + " transactions behind the log"
}

// auditAll audits the log, and the view against it. Neither is changed.
func auditAll(ctx context.Context, client *waltz.Client, db view.Database) (*audit.Report, error) {
	var letters view.Letters
	unreadable := db.Look(ctx, func(ctx context.Context, ask view.Querier) (err error) {
		letters, err = view.ReadLetters(ctx, ask)
		return err
	})
	if unreadable != nil && (!errors.Is(unreadable, view.ErrNoView) || errors.Is(unreadable, os.ErrNotExist)) {
		return nil, unreadable
	}
	r, err := auditLog(ctx, client, letters)
	if err != nil {
		return nil, err
	}
	if unreadable != nil {
		r.Missing(unreadable)
		return r, nil
	}
	return r, auditView(ctx, client, db, r)
}

func auditLog(ctx context.Context, client *waltz.Client, letters view.Letters) (*audit.Report, error) {
	settled, err := ends(ctx, client)
	if err != nil {
		return nil, err
	}
	all, err := ends(ctx, client)
	if err != nil {
		return nil, err
	}
	return audit.Replay(ctx, client, audit.Span{Settled: settled, End: all}, func(o ledger.Origin) bool { return letters.Discarded[o] })
}

// auditView compares the view with one that is built from the log up to the same marks.
func auditView(ctx context.Context, client *waltz.Client, db view.Database, r *audit.Report) error {
	s, err := newScratch(ctx, client)
	if err != nil {
		return fmt.Errorf("open scratch view: %w", err)
	}
	err = s.during(ctx, false, func(ctx context.Context) error {
		// The bulk is replayed before the state to compare is looked at, which does not
		// have to be kept for so long then.
		if marks, ok, err := lookAtMarks(ctx, client, db); err == nil && ok {
			if err := s.upTo(ctx, marks); err != nil {
				return err
			}
		} else if err != nil && !errors.Is(err, view.ErrNoView) {
			return err
		}
		err := db.Look(ctx, func(ctx context.Context, ask view.Querier) error { return s.compare(ctx, client, ask, r) })
		if errors.Is(err, view.ErrNoView) {
			r.Missing(err)
			err = nil
		}
		return err
	})
	return errors.Join(err, s.close())
}

// lookAtMarks returns the view's marks if they are in the log.
func lookAtMarks(ctx context.Context, client *waltz.Client, db view.Database) (marks []view.Mark, ok bool, err error) {
	err = db.Look(ctx, func(ctx context.Context, ask view.Querier) error {
		marks, err = view.ReadMarks(ctx, ask)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	log, err := ends(ctx, client)
	return marks, (&audit.Report{}).Marks(marks, client.LogID(), log), err
}

// scratch is a view of its own in a temporary folder.
type scratch struct {
	house
	log *logUpTo
	dir string
}

func newScratch(ctx context.Context, client *waltz.Client) (s *scratch, err error) {
	s = &scratch{house: house{logger: discard()}, log: newLogUpTo(applier.FromClient(client))}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "ledger-check-"); err != nil {
		return s, err
	}
	db, err := database("sqlite://" + filepath.Join(s.dir, "scratch.db"))
	if err != nil {
		return s, err
	}
	// What can't be applied is missing here as in the view; the report names it.
	s.view, err = db.Open(ctx, s.log, applier.Options{Logger: s.logger, Policy: applier.DeadLetter, DeadMax: math.MaxInt})
	return s, err
}

func (s *scratch) close() error {
	return errors.Join(s.closeView(), os.RemoveAll(s.dir))
}

// upTo replays the log up to marks that are in it.
func (s *scratch) upTo(ctx context.Context, marks []view.Mark) error {
	ends := make([]waltz.ID, len(marks))
	for _, m := range marks {
		ends[m.Partition] = m.ID
	}
	s.log.goOn(ends)
	for p, end := range ends {
		if err := s.view.WaitFor(ctx, waltz.Partition(p), end); end != waltz.None && err != nil {
			return fmt.Errorf("replay the log into a scratch view: %w", err)
		}
	}
	return nil
}

// compare adds to the report what is wrong with one state of the view.
func (s *scratch) compare(ctx context.Context, client *waltz.Client, live view.Querier, r *audit.Report) error {
	marks, err := view.ReadMarks(ctx, live)
	if err != nil {
		return err
	}
	letters, err := view.ReadLetters(ctx, live)
	if err != nil {
		return err
	}
	log, err := ends(ctx, client)
	if err != nil {
		return err
	}
	r.Letters(letters)
	if !r.Marks(marks, client.LogID(), log) {
		return nil
	}
	if err := s.upTo(ctx, marks); err != nil {
		return err
	}
	return r.Tables(ctx, live, s.view.Ask())
}

// ends reads the log's high-water marks.
func ends(ctx context.Context, client *waltz.Client) (all []waltz.ID, err error) {
	for p := range waltz.Partition(client.Partitions()) {
		mark, err := client.HighWaterMark(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("read the log's high-water mark: %w", err)
		}
		all = append(all, mark)
	}
	return all, nil
}
