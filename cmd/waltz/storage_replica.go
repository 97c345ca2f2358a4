package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz"
)

// onReplica does something with one replica of the storage that the flags name.
func onReplica(cmd *cobra.Command, do func(context.Context, *storageclient.Client, waltz.Partition) error) error {
	p, err := partition(cmd)
	if err != nil {
		return err
	}
	return onStorage(cmd, func(ctx context.Context, c *storageclient.Client) error { return do(ctx, c, p) })
}

func newStorageCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make an empty replica of a partition",
		Long: `Make an empty replica of a partition, or find the one that is there, also one whose
files were kept when it was removed. Servers do so by themselves for a storage that
is to have a partition.`,
		Example: "  waltz storage create --storage 10.0.0.1:7272 --partition 3",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onReplica(cmd, func(ctx context.Context, c *storageclient.Client, p waltz.Partition) error {
				is, err := c.CreateReplica(ctx, p)
				if err != nil {
					return err
				}
				return printObject(cmd, madeReplica{int32(p), fmt.Sprint(uint64(is))})
			})
		},
	}
	replicaFlags(cmd)
	return cmd
}

// madeReplica is what create prints.
type madeReplica struct {
	Partition   int32  `json:"partition"`
	Incarnation string `json:"incarnation"`
}

func newStorageRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Give up a replica, and delete its files or keep them",
		Long: `Give up a replica of a partition for which the storage is neither member nor target
any more. Its files are deleted, or with --keep stay for a later create.`,
		Example: "  waltz storage remove --storage 10.0.0.1:7272 --partition 3 --keep",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			is, err := incarnation(cmd)
			if err != nil {
				return err
			}
			keep, err := cmd.Flags().GetBool("keep")
			if err != nil {
				return err
			}
			return onReplica(cmd, func(ctx context.Context, c *storageclient.Client, p waltz.Partition) error {
				if err := c.RemoveReplica(ctx, p, is, keep); err != nil {
					return err
				}
				return printObject(cmd, removedReplica{int32(p), keep})
			})
		},
	}
	replicaFlags(cmd)
	incarnationFlag(cmd)
	cmd.Flags().Bool("keep", false, "keep the files")
	return cmd
}

// removedReplica is what remove prints.
type removedReplica struct {
	Partition int32 `json:"partition"`
	Kept      bool  `json:"files_kept"`
}

func newStorageAvailability() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "availability on|off",
		Short: "Take a replica out of service, or back into it",
		Long: `Take a replica out of service: it keeps its promises and what it holds, and takes no
messages, so that the partition goes on without it. Or take it back: it catches up.`,
		Example:   "  waltz storage availability off --storage 10.0.0.1:7272 --partition 3",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"on", "off"},
		RunE: func(cmd *cobra.Command, args []string) error {
			return onReplica(cmd, func(ctx context.Context, c *storageclient.Client, p waltz.Partition) error {
				if err := c.SetAvailable(ctx, p, args[0] == "on"); err != nil {
					return err
				}
				return printObject(cmd, availableReplica{int32(p), args[0]})
			})
		},
	}
	replicaFlags(cmd)
	return cmd
}

// availableReplica is what availability prints.
type availableReplica struct {
	Partition    int32  `json:"partition"`
	Availability string `json:"availability"`
}

func newStorageReset() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Begin a replica anew, since its disk was restored or its journal is damaged",
		Long: `Give a replica a new incarnation, so that it counts as absent until it is caught up
from the others. That is needed when its disk was restored from a back-up, which
nobody can see from inside, and when its journal is damaged. With --keep the
verified start of its log stays, so that less has to be copied.`,
		Example: "  waltz storage reset --storage 10.0.0.1:7272 --partition 3 --keep",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			is, err := incarnation(cmd)
			if err != nil {
				return err
			}
			keep, err := cmd.Flags().GetBool("keep")
			if err != nil {
				return err
			}
			return onReplica(cmd, func(ctx context.Context, c *storageclient.Client, p waltz.Partition) error {
				made, last, err := c.ResetReplica(ctx, p, is, keep)
				if err != nil {
					return err
				}
				return printObject(cmd, resetReplica{int32(p), fmt.Sprint(uint64(made)), last})
			})
		},
	}
	replicaFlags(cmd)
	incarnationFlag(cmd)
	cmd.Flags().Bool("keep", false, "keep the verified start of the log")
	return cmd
}

// resetReplica is what reset prints.
type resetReplica struct {
	Partition   int32  `json:"partition"`
	Incarnation string `json:"incarnation"`
	Last        txn.ID `json:"last"` // kept
}

func newStorageChecksum() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "checksum",
		Short:   "Read and verify records, and print the checksum that equal replicas have in common",
		Example: "  waltz storage checksum --storage 10.0.0.1:7272 --partition 3 --from 0 --to 999999 --timeout 10m",
		Args:    cobra.NoArgs,
		RunE:    runStorageChecksum,
	}
	replicaFlags(cmd)
	cmd.Flags().Int64("from", 0, "first transaction ID")
	cmd.Flags().Int64("to", -1, "last transaction ID (default: the last one committed, as far as the replica knows)")
	return cmd
}

// checksum is what checksum prints.
type checksum struct {
	Partition int32  `json:"partition"`
	First     txn.ID `json:"first"`
	Last      txn.ID `json:"last"`
	Records   int64  `json:"records"`
	Bytes     int64  `json:"bytes"`
	Sum       string `json:"xxh3_128"`
}

func runStorageChecksum(cmd *cobra.Command, _ []string) error {
	first, err := cmd.Flags().GetInt64("from")
	if err != nil {
		return err
	}
	last, err := cmd.Flags().GetInt64("to")
	if err != nil {
		return err
	}
	return onReplica(cmd, func(ctx context.Context, c *storageclient.Client, p waltz.Partition) error {
		if last < 0 {
			all, err := c.Replicas(ctx, p)
			if err != nil || len(all) == 0 {
				return errors.Join(fmt.Errorf("the storage has no replica of partition %d", p), err)
			}
			last = int64(all[0].Promise.Committed)
		}
		d, err := c.Checksum(ctx, p, txn.ID(first), txn.ID(last))
		if err != nil {
			return err
		}
		return printObject(cmd, checksum{int32(p), d.First, d.Last, d.Records, d.Bytes, fmt.Sprintf("%x", d.Sum)})
	})
}
