package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/admin"
)

func newClusterRecover() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "force-recover",
		Short: "Give up a majority of replicas that is lost for good, and go on with what is left",
		Long: `Give up a majority of a partition's replicas that is lost for good, and go on with the
log of the one replica that has most. What only the others held is gone, acknowledged
or not. Use it when their disks are destroyed, never because they can't be reached: a
storage that comes back later is fenced, and what it had acknowledged is lost.

It asks the storages for their state and says what it would keep and what may be gone.
It does that only with --accept-data-loss, and never while a majority answers. A member
counts as lost if its machine says that no storage runs there, or if it was wiped, reset
or removed. One that gives no answer may be there: it is waited for, unless --lost says
that its disk is destroyed. Of the replicas that are left the one that has most is kept,
or the one that --keep names.

That it was done is remembered in the metadata: waltz cluster status shows it.
Afterwards give the partition replicas again (waltz cluster rebalance), and rebuild
views that had seen more than was kept.`,
		Example: `  waltz cluster force-recover --server 10.0.0.1:7171 --partition 3
  waltz cluster force-recover --server 10.0.0.1:7171 --partition 3 --accept-data-loss`,
		Args: cobra.NoArgs,
		RunE: runClusterRecover,
	}
	operatorFlags(cmd)
	cmd.Flags().String("partition", "", "partition, from 0")
	cmd.Flags().Bool("accept-data-loss", false, "do it")
	cmd.Flags().String("keep", "", "storage whose replica to keep (default: the one that has most)")
	cmd.Flags().StringSlice("lost", nil, "storages that give no answer and whose disks are destroyed, s1,s2,...")
	need(cmd, "partition")
	return cmd
}

// recovered is what force-recover prints.
type recovered struct {
	Partition int             `json:"partition"`
	Done      bool            `json:"done"`
	Kept      string          `json:"kept"`
	Last      int64           `json:"last"`
	LastStamp int64           `json:"last_stamp"`
	Installed int64           `json:"installed"`
	Opened    int64           `json:"opened"`
	Session   int64           `json:"session"`
	Gone      []string        `json:"gone"`
	Losses    []string        `json:"losses"`
	Replicas  []admin.Replica `json:"replicas"`
}

func runClusterRecover(cmd *cobra.Command, _ []string) error {
	p, err := neededPartition(cmd)
	if err != nil {
		return err
	}
	how := admin.Recover{Keep: cmd.Flag("keep").Value.String()}
	if how.Accept, err = cmd.Flags().GetBool("accept-data-loss"); err != nil {
		return err
	}
	if how.Lost, err = cmd.Flags().GetStringSlice("lost"); err != nil {
		return err
	}
	return operate(cmd, func(ctx context.Context, o admin.Operator) error {
		r, err := o.ForceRecover(ctx, p, how)
		if r.Recovery.Kept == "" {
			return err
		}
		if err != nil && !how.Accept {
			err = fmt.Errorf("%w: --accept-data-loss", err)
		}
		return errors.Join(err, printRecovery(cmd, r))
	})
}

func printRecovery(cmd *cobra.Command, r admin.Report) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	is := r.Recovery
	if f == "json" {
		return printObject(cmd, recovered{
			int(r.Partition), r.Done, is.Kept, int64(is.Last), int64(is.LastStamp), int64(is.Installed), int64(is.Opened), int64(is.Session), is.Gone, r.Losses, r.Replicas,
		})
	}
	out, would := cmd.OutOrStdout(), "would keep"
	if r.Done {
		would = "keeps"
	}
	fmt.Fprintf(out, "partition %d %s the replica of storage %s: it ends at %d (stamp %d, installed session %d; session %d was open last)\n",
		r.Partition, would, is.Kept, is.Last, is.LastStamp, is.Installed, is.Opened)
	for _, one := range r.Replicas {
		if !one.Known {
			fmt.Fprintf(out, "  %s (%s): no answer; %s\n", one.Storage, one.Role, orDash(one.Problem))
			continue
		}
		fmt.Fprintf(out, "  %s (%s): last %d, installed %d; %s\n", one.Storage, one.Role, one.Last, one.Installed, orDash(one.Problem))
	}
	for _, loss := range r.Losses {
		fmt.Fprintln(out, "-", loss)
	}
	return nil
}
