package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/metadata"
)

func newClusterStorage() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "storage",
		Short:   "Add, drain, remove and list storages",
		Example: "  waltz cluster storage add --server 10.0.0.1:7171 s4=10.0.0.4:7272/rack1",
	}
	asGroup(cmd)
	cmd.AddCommand(newClusterStorageAdd(), newClusterStorageDrain(), newClusterStorageRemove(), newClusterStorageList())
	return cmd
}

// storageResult is what a change of a storage prints.
type storageResult struct {
	Storage  string `json:"storage"`
	State    string `json:"state"`
	Replicas int    `json:"replicas"` // partitions that have it
}

func newClusterStorageAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME=HOST:PORT[/GROUP]",
		Short: "Add a storage; it gets replicas by rebalance or move",
		Long: `Add a storage to the cluster. Start it first, with the same name: waltz storage run.
It gets replicas by waltz cluster rebalance, or move.

With --update it changes the address and group of one that is there: a storage that
moved to another machine with its disk.`,
		Example: `  waltz cluster storage add --server 10.0.0.1:7171 s4=10.0.0.4:7272/rack1
  waltz cluster storage add --server 10.0.0.1:7171 --update s4=10.0.0.9:7272`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := parseStorage(args[0])
			if err != nil {
				return err
			}
			update, err := cmd.Flags().GetBool("update")
			if err != nil {
				return err
			}
			return operate(cmd, func(ctx context.Context, o admin.Operator) error {
				if err := o.PutStorage(ctx, s, update); err != nil {
					return err
				}
				return printStorage(ctx, cmd, o, s.Name)
			})
		},
	}
	operatorFlags(cmd)
	cmd.Flags().Bool("update", false, "change one that is there")
	return cmd
}

// printStorage prints one storage as it is now.
func printStorage(ctx context.Context, cmd *cobra.Command, o admin.Operator, name string) error {
	s, err := o.Status(ctx, nil)
	if err != nil {
		return err
	}
	for _, one := range s.Storages {
		if one.Name == name {
			return printObject(cmd, storageResult{one.Name, string(one.State), one.Replicas})
		}
	}
	return printObject(cmd, storageResult{Storage: name, State: "removed"})
}

func newClusterStorageDrain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain NAME",
		Short: "Say that a storage's replicas are to leave; rebalance moves them",
		Example: `  waltz cluster storage drain --server 10.0.0.1:7171 s2
  waltz cluster storage drain --server 10.0.0.1:7171 --undo s2`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			undo, err := cmd.Flags().GetBool("undo")
			if err != nil {
				return err
			}
			return operate(cmd, func(ctx context.Context, o admin.Operator) error {
				n, err := o.DrainStorage(ctx, args[0], undo)
				if err != nil {
					return err
				}
				state := metadata.Draining
				if undo {
					state = metadata.InService
				}
				return printObject(cmd, storageResult{args[0], string(state), n})
			})
		},
	}
	operatorFlags(cmd)
	cmd.Flags().Bool("undo", false, "let it have replicas again")
	return cmd
}

func newClusterStorageRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a storage that was drained and has no replicas any more",
		Long: `Forget a storage that was drained and that no partition has any more. It is refused
otherwise. What is on the storage's disk stays there.`,
		Example: "  waltz cluster storage remove --server 10.0.0.1:7171 s2",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return operate(cmd, func(ctx context.Context, o admin.Operator) error {
				if err := o.RemoveStorage(ctx, args[0]); err != nil {
					return err
				}
				return printObject(cmd, storageResult{Storage: args[0], State: "removed"})
			})
		},
	}
	operatorFlags(cmd)
	return cmd
}

func newClusterStorageList() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the storages, their groups, and whether they answer",
		Example: "  waltz cluster storage list --server 10.0.0.1:7171 --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return operate(cmd, func(ctx context.Context, o admin.Operator) error {
				s, err := o.Status(ctx, nil)
				if err != nil {
					return err
				}
				f, err := format(cmd)
				if err != nil {
					return err
				}
				if f == "json" {
					return printObject(cmd, struct {
						Storages []admin.StorageStatus `json:"storages"`
					}{s.Storages})
				}
				return printStorages(cmd.OutOrStdout(), s.Storages)
			})
		},
	}
	operatorFlags(cmd)
	return cmd
}
