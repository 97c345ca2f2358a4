package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/admin"
)

func newClusterRebalance() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "Spread replicas over groups and storages, evenly, with few moves",
		Long: `Spread replicas over groups and storages, evenly and with as few moves as that takes,
and empty those that are draining. The plan is printed, then its first steps are
begun: so many partitions at a time as --at-once says, each in steps that keep a
majority of its replicas. With --wait it goes on until nothing is left to do, and fails
when a replica is in the way that needs somebody, say to reset it; without, call it
again.`,
		Example: `  waltz cluster rebalance --server 10.0.0.1:7171 --dry-run
  waltz cluster rebalance --server 10.0.0.1:7171 --wait --timeout 2h
  waltz cluster rebalance --server 10.0.0.1:7171 --replicas 5 --wait`,
		Args: cobra.NoArgs,
		RunE: runClusterRebalance,
	}
	operatorFlags(cmd)
	f := cmd.Flags()
	f.Bool("dry-run", false, "print the plan only")
	f.Bool("wait", false, "go on until nothing is left to do")
	f.Int("replicas", 0, "replicas of each partition from now on (default: as it is)")
	f.Int("at-once", 4, "partitions that change at a time")
	return cmd
}

// rebalanced is what rebalance prints.
type rebalanced struct {
	Changes  []admin.Change `json:"changes"`
	UnderWay int            `json:"under_way"`
	Done     bool           `json:"done"`
}

const (
	// rebalancePoll is how often a rebalance that waits looks.
	rebalancePoll = 200 * time.Millisecond
	// stuckPolls is how many looks it takes between two at the storages, which are of all
	// partitions and cost reads.
	stuckPolls = 10
)

func runClusterRebalance(cmd *cobra.Command, _ []string) error {
	var r admin.Rebalance
	f := cmd.Flags()
	wait, err := f.GetBool("wait")
	if err != nil {
		return err
	}
	if r.DryRun, err = f.GetBool("dry-run"); err != nil {
		return err
	}
	if r.Replicas, err = f.GetInt("replicas"); err != nil {
		return err
	}
	if r.AtOnce, err = f.GetInt("at-once"); err != nil {
		return err
	}
	if r.AtOnce < 1 || r.DryRun && wait {
		return usagef("want --at-once from 1, and --wait or --dry-run")
	}
	return operate(cmd, func(ctx context.Context, o admin.Operator) error {
		first, err := o.Rebalance(ctx, r)
		if err != nil {
			return err
		}
		done := first.Done()
		if wait {
			if err := goOn(ctx, o, r); err != nil {
				return err
			}
			done = true
		}
		return printPlan(cmd, first, done)
	})
}

// goOn takes one step after the other.
func goOn(ctx context.Context, o admin.Operator, r admin.Rebalance) error {
	var plan admin.Plan
	var seen admin.Status
	for polls := 1; ; polls++ {
		now, err := o.Rebalance(ctx, r)
		if err == nil && now.Done() {
			return nil
		}
		if err == nil {
			plan = now
		}
		if err == nil && polls%stuckPolls == 0 {
			if s, failed := o.Status(ctx, nil); failed == nil {
				seen, err = s, stuck(s)
			} else {
				err = failed
			}
		}
		switch {
		case ctx.Err() != nil:
			return left(ctx, plan, seen)
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return left(ctx, plan, seen)
		case <-time.After(rebalancePoll):
		}
	}
}

// left says what is left of a rebalance when the time is up, and what it waits for.
func left(ctx context.Context, plan admin.Plan, seen admin.Status) error {
	what := fmt.Sprintf("%d partitions are under way, %d changes left; it goes on when it is called again", plan.UnderWay, len(plan.Changes))
	for _, p := range seen.States {
		if why := waitsFor(p); why != "" {
			what += fmt.Sprintf("; partition %d %s", p.Partition, why)
		}
	}
	return fmt.Errorf("%w: %s", context.Cause(ctx), what)
}

// stuck says which newcomers are in the way of a change until somebody does something
// about them.
func stuck(s admin.Status) error {
	var all []error
	for _, p := range s.States {
		for _, r := range p.Replicas {
			if r.Unfit && r.Role == admin.RoleNewcomer {
				all = append(all, fmt.Errorf("partition %d can't have a replica on storage %s: %s", p.Partition, r.Storage, r.Problem))
			}
		}
	}
	return errors.Join(all...)
}

func printPlan(cmd *cobra.Command, p admin.Plan, done bool) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, rebalanced{p.Changes, p.UnderWay, done})
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "partition\tfrom\tto\tfirst_step\tstate")
	for _, c := range p.Changes {
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", c.Partition, names(c.From), names(c.To), names(c.Next), c.State)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d changes, %d partitions under way, done: %t\n", len(p.Changes), p.UnderWay, done)
	return nil
}
