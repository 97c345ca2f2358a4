package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/txn"
)

func newClusterStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show storages and partitions: sessions, replicas, how far they are, what is wrong",
		Long: `Show the storages, and of every partition the session, its replicas as the metadata
remembers them and as their storages say, and, from a server that owns it, its
high-water mark.

A partition is ok; changing: replicas come or go; degraded: it works, but a replica is
missing, behind its promises or damaged; unavailable: it can't be appended to.

The exit code is 1 if a partition is unavailable.`,
		Example: `  waltz cluster status --server 10.0.0.1:7171
  waltz cluster status --server 10.0.0.1:7171 --partition 3 --output json
  waltz cluster status --metadata file:///var/lib/waltz/metadata`,
		Args: cobra.NoArgs,
		RunE: runClusterStatus,
	}
	operatorFlags(cmd)
	cmd.Flags().Int32Slice("partition", nil, "partitions to show, from 0 (default: all)")
	return cmd
}

func runClusterStatus(cmd *cobra.Command, _ []string) error {
	wanted, err := cmd.Flags().GetInt32Slice("partition")
	if err != nil {
		return err
	}
	var partitions []txn.Partition
	for _, p := range wanted {
		partitions = append(partitions, txn.Partition(p))
	}
	return operate(cmd, func(ctx context.Context, o admin.Operator) error {
		s, err := o.Status(ctx, partitions)
		if err != nil {
			return err
		}
		if err := printStatus(cmd, s); err != nil {
			return err
		}
		return unavailable(s)
	})
}

func unavailable(s admin.Status) error {
	var all []txn.Partition
	for _, p := range s.States {
		if p.Health == admin.Unavailable {
			all = append(all, p.Partition)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("unavailable partitions: %v", all)
}

func printStatus(cmd *cobra.Command, s admin.Status) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, s)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "cluster %s (%s): %d partitions, %d replicas each\n\n", s.ClusterName, s.ClusterKey, s.Partitions, s.Replicas)
	if err := printStorages(out, s.Storages); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return printPartitions(out, s.States)
}

func printStorages(out io.Writer, storages []admin.StorageStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "storage\tgroup\taddress\tstate\treplicas\tproblem")
	for _, one := range storages {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", one.Name, one.Group, one.Address, one.State, one.Replicas, orDash(one.Problem))
	}
	return w.Flush()
}

func printPartitions(out io.Writer, states []admin.PartitionState) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "partition\thealth\tsession\thigh_water_mark\ttarget\treplica\trole\tinstalled\tlast\tlag\tproblem")
	for _, p := range states {
		high, problem := "-", ""
		if l := p.Leader; l != nil {
			high, problem = fmt.Sprint(l.HighWaterMark), l.Problem
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\t\t\t\t\t\t%s\n", p.Partition, p.Health, p.Opened, high, names(p.Target), orDash(problem))
		for _, r := range p.Replicas {
			installed, last, lag := "-", "-", "-"
			if r.Known {
				installed, last, lag = fmt.Sprint(r.Installed), fmt.Sprint(r.Last), fmt.Sprint(r.Lag)
			}
			fmt.Fprintf(w, "\t\t\t\t\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Storage, r.Role, installed, last, lag, orDash(r.Problem))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range states {
		for _, r := range p.Recoveries {
			fmt.Fprintf(out, "partition %d: forced recovery at %s: %s was kept up to %d, given up: %s\n",
				p.Partition, r.At.Time().Format(time.RFC3339), r.Kept, r.Last, names(r.Gone))
		}
	}
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
