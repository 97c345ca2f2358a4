package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/txn"
)

func newClusterMove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "move",
		Short: "Say which storages should have a partition",
		Long: `Say which storages should have a partition. Any set may replace any set. The server
that owns the partition copies to those that are new beside the appends, and changes
the members in a pause of milliseconds when they are near the end. With --wait the
command waits for that, and fails when a replica is in the way that needs somebody, say
to reset it; without, see waltz cluster status.

A storage that does not answer is waited for, for as long as it takes; appends go on
meanwhile, on the old members. Nothing has to be undone to give it up: move the
partition to where it is.`,
		Example: `  waltz cluster move --server 10.0.0.1:7171 --partition 3 --to s1,s2,s4 --wait --timeout 1h`,
		Args:    cobra.NoArgs,
		RunE:    runClusterMove,
	}
	operatorFlags(cmd)
	cmd.Flags().String("partition", "", "partition, from 0")
	cmd.Flags().StringSlice("to", nil, "storages, s1,s2,...")
	cmd.Flags().Bool("wait", false, "wait until they have it")
	need(cmd, "partition")
	return cmd
}

// moved is what move prints.
type moved struct {
	Partition int      `json:"partition"`
	From      []string `json:"from"`
	To        []string `json:"to"`
	Warnings  []string `json:"warnings"`
}

func runClusterMove(cmd *cobra.Command, _ []string) error {
	p, err := neededPartition(cmd)
	if err != nil {
		return err
	}
	to, err := cmd.Flags().GetStringSlice("to")
	if err != nil {
		return err
	}
	wait, err := cmd.Flags().GetBool("wait")
	if err != nil {
		return err
	}
	if len(to) == 0 {
		return usagef("%s needs --to; see %[1]s --help", cmd.CommandPath())
	}
	return operate(cmd, func(ctx context.Context, o admin.Operator) error {
		change, warnings, err := o.Move(ctx, p, to)
		if err != nil {
			return err
		}
		for _, w := range warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning:", w)
		}
		if wait {
			if err := arrive(ctx, o, p); err != nil {
				return err
			}
		}
		return printObject(cmd, moved{int(p), append([]string{}, change.From...), change.To, append([]string{}, warnings...)})
	})
}

// arrive waits until the members of a partition are its target.
func arrive(ctx context.Context, o admin.Operator, p txn.Partition) error {
	is := admin.PartitionState{Partition: p}
	for {
		s, err := o.Status(ctx, []txn.Partition{p})
		switch {
		case err == nil:
			is = s.States[0]
		case ctx.Err() != nil:
			return underWay(ctx, is)
		default:
			return err
		}
		if len(is.Replicas) == len(is.Target) && !slices.ContainsFunc(is.Replicas, func(r admin.Replica) bool { return r.Role != admin.RoleMember }) {
			return nil
		}
		if err := stuck(s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return underWay(ctx, is)
		case <-time.After(rebalancePoll):
		}
	}
}

// underWay says what a change waited for when the time was up, and how to give it up.
func underWay(ctx context.Context, is admin.PartitionState) error {
	what := fmt.Sprintf("partition %d is under way; it goes on by itself", is.Partition)
	if why := waitsFor(is); why != "" {
		what += ", and " + why
	}
	return fmt.Errorf("%w: %s", context.Cause(ctx), what)
}

// waitsFor says whom a change waits for, and how to give it up; "" if for nobody.
func waitsFor(is admin.PartitionState) string {
	all := newcomers(is)
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf("waits for %s; to give that up: waltz cluster move --partition %d --to %s",
		strings.Join(all, ", "), is.Partition, strings.Join(memberNames(is), ","))
}

// newcomers says of those who are not members yet how far they are.
func newcomers(is admin.PartitionState) (all []string) {
	for _, r := range is.Replicas {
		switch {
		case r.Role != admin.RoleNewcomer:
		case r.Problem != "":
			all = append(all, fmt.Sprintf("storage %s (%s)", r.Storage, r.Problem))
		default:
			all = append(all, fmt.Sprintf("storage %s (it lacks %d transactions)", r.Storage, r.Lag))
		}
	}
	return all
}

func memberNames(is admin.PartitionState) (all []string) {
	for _, r := range is.Replicas {
		if r.Role == admin.RoleMember {
			all = append(all, r.Storage)
		}
	}
	return all
}
