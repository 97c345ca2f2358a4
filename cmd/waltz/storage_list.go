package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
)

func newStorageList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the replicas of a storage, and their state",
		Example: "  waltz storage list --storage 10.0.0.1:7272 --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onStorage(cmd, func(ctx context.Context, c *storageclient.Client) error {
				who, err := c.Describe(ctx)
				if err != nil {
					return err
				}
				all, err := c.Replicas(ctx)
				if err != nil {
					return err
				}
				return printReplicas(cmd, who, all)
			})
		},
	}
	storageFlags(cmd)
	return cmd
}

// replicaList is what list prints.
type replicaList struct {
	Storage    string       `json:"storage"` // name; empty if it was started without
	ClusterKey string       `json:"cluster_key"`
	Full       bool         `json:"full"`             // its disk is
	Failed     string       `json:"failed,omitempty"` // why it has stopped for good
	Replicas   []replicaRow `json:"replicas"`
}

// replicaRow is one replica of it.
type replicaRow struct {
	Partition   int32         `json:"partition"`
	Service     string        `json:"service"`
	Incarnation string        `json:"incarnation"`
	Promised    txn.SessionID `json:"promised"`
	Installed   txn.SessionID `json:"installed"`
	Last        txn.ID        `json:"last"`
	Committed   txn.ID        `json:"committed"`
	Segments    int           `json:"segments"`
	Bytes       int64         `json:"bytes"`
	Damage      []damageRow   `json:"damage"`
	Closed      string        `json:"closed,omitempty"` // why it takes no messages any more
}

func replicaRows(all []storageclient.Replica) []replicaRow {
	rows := []replicaRow{}
	for _, r := range all {
		row := replicaRow{
			Partition: int32(r.Partition), Service: r.Service.String(), Incarnation: fmt.Sprint(uint64(r.Promise.Replica.Incarnation)),
			Promised: r.Promise.Promised, Installed: r.Promise.Installed, Last: r.Promise.Last, Committed: r.Promise.Committed,
			Segments: r.Segments, Bytes: r.Bytes, Damage: damageRows(r.Damage),
		}
		if r.Closed != nil {
			row.Closed = r.Closed.Reason
		}
		rows = append(rows, row)
	}
	return rows
}

func printReplicas(cmd *cobra.Command, who storageclient.Storage, all []storageclient.Replica) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	list := replicaList{who.Name, who.ClusterKey, who.Full, who.Failed, replicaRows(all)}
	if f == "json" {
		return printObject(cmd, list)
	}
	out := cmd.OutOrStdout()
	if list.Full {
		fmt.Fprintln(out, "the disk is full: make room, writing goes on by itself")
	}
	if list.Failed != "" {
		fmt.Fprintln(out, "the storage has failed:", list.Failed)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "partition\tservice\tincarnation\tpromised\tinstalled\tlast\tcommitted\tsegments\tbytes\tproblem")
	for _, r := range list.Replicas {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", r.Partition, r.Service, r.Incarnation, r.Promised, r.Installed,
			r.Last, r.Committed, r.Segments, r.Bytes, orDash(r.problem()))
	}
	return w.Flush()
}

// problem says in words what an operator has to do something about.
func (r *replicaRow) problem() string {
	switch {
	case r.Closed != "":
		return "closed, reset it: " + r.Closed
	case len(r.Damage) == 1:
		return "damaged, repair it: " + r.Damage[0].String()
	case len(r.Damage) > 1:
		return fmt.Sprintf("damaged, repair it: %d ranges, the first is %s", len(r.Damage), r.Damage[0])
	}
	return ""
}
