package main

import (
	"context"
	"encoding/json"
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
				all, err := c.Replicas(ctx)
				if err != nil {
					return err
				}
				return printReplicas(cmd, all)
			})
		},
	}
	storageFlags(cmd)
	return cmd
}

// replicaRow is one replica as the command prints it, one JSON object each.
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

func printReplicas(cmd *cobra.Command, all []storageclient.Replica) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	if f != "json" {
		fmt.Fprintln(w, "partition\tservice\tincarnation\tpromised\tinstalled\tlast\tcommitted\tsegments\tbytes\tdamaged ranges")
	}
	for _, r := range all {
		row := replicaRow{
			Partition: int32(r.Partition), Service: r.Service.String(), Incarnation: fmt.Sprint(uint64(r.Promise.Replica.Incarnation)),
			Promised: r.Promise.Promised, Installed: r.Promise.Installed, Last: r.Promise.Last, Committed: r.Promise.Committed,
			Segments: r.Segments, Bytes: r.Bytes, Damage: damageRows(r.Damage),
		}
		if r.Closed != nil {
			row.Closed = r.Closed.Reason
		}
		if f == "json" {
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(row); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", row.Partition, row.Service, row.Incarnation, row.Promised, row.Installed,
			row.Last, row.Committed, row.Segments, row.Bytes, len(row.Damage))
	}
	return w.Flush()
}
