package main

import (
	"context"
	"fmt"
	"slices"
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
to reset it; without, see waltz cluster status.`,
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
	for {
		s, err := o.Status(ctx, []txn.Partition{p})
		if err != nil {
			return err
		}
		is := s.States[0]
		if len(is.Replicas) == len(is.Target) && !slices.ContainsFunc(is.Replicas, func(r admin.Replica) bool { return r.Role != admin.RoleMember }) {
			return nil
		}
		if err := stuck(s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: partition %d is under way; it goes on by itself", context.Cause(ctx), p)
		case <-time.After(rebalancePoll):
		}
	}
}
