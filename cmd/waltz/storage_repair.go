package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/waltz"
)

func newStorageScrub() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Read and verify everything that a storage holds, now",
		Long: `Read and verify everything that a storage holds. It does so by itself in the
background; this is for who wants to know now. If records are damaged the exit code
is 1; waltz storage repair takes them from another storage.`,
		Example: "  waltz storage scrub --storage 10.0.0.1:7272 --timeout 1h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onStorage(cmd, func(ctx context.Context, c *storageclient.Client) error {
				s, err := c.Scrub(ctx)
				if err != nil {
					return err
				}
				if err := printObject(cmd, scrubbed{s.Records, s.Bytes, damageRows(s.Damage)}); err != nil {
					return err
				}
				return damageLeft(s.Damage)
			})
		},
	}
	storageFlags(cmd)
	return cmd
}

// damageLeft says which partitions of a storage need a repair. Damage that has lost no
// record, say to an index, needs none.
func damageLeft(all []wire.StorageDamage) error {
	var partitions []txn.Partition
	n := 0
	for _, d := range all {
		if !d.LostRecords() {
			continue
		}
		if n++; !slices.Contains(partitions, d.Partition) {
			partitions = append(partitions, d.Partition)
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d ranges are damaged, of partitions %v; waltz storage repair --partition %d takes them from another storage", n, partitions, partitions[0])
}

// scrubbed is what scrub prints.
type scrubbed struct {
	Records int64       `json:"records"`
	Bytes   int64       `json:"bytes"`
	Damage  []damageRow `json:"damage"`
}

func newStorageRepair() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Replace damaged records by those of other storages",
		Long: `Replace the damaged records of a replica by those of other storages. Every record is
verified, and only what is committed is replaced. If damage is left the exit code
is 1.`,
		Example: "  waltz storage repair --storage 10.0.0.1:7272 --partition 3 --source 10.0.0.2:7272,10.0.0.3:7272",
		Args:    cobra.NoArgs,
		RunE:    runStorageRepair,
	}
	replicaFlags(cmd)
	f := cmd.Flags()
	f.StringSlice("source", nil, "addresses of storages to take records from, host:port,...")
	f.Int64("from", 0, "first transaction ID to look at")
	f.Int64("to", -1, "last transaction ID to look at (default: all that is known to be damaged)")
	f.Int64("committed", 0, "high-water mark of the partition, if the replica can't know it")
	return cmd
}

// repaired is what repair prints.
type repaired struct {
	Partition int32       `json:"partition"`
	Records   int64       `json:"records"` // taken from the others
	Bytes     int64       `json:"bytes"`
	Segments  int         `json:"segments"` // files replaced
	Left      []damageRow `json:"left"`
}

func runStorageRepair(cmd *cobra.Command, _ []string) error {
	m, addresses, err := repairFlags(cmd)
	if err != nil {
		return err
	}
	return onReplica(cmd, func(ctx context.Context, c *storageclient.Client, p waltz.Partition) (err error) {
		m.Partition = p
		sources, err := dialSources(ctx, addresses)
		defer func() {
			for _, s := range sources {
				err = errors.Join(err, s.Close())
			}
		}()
		if err != nil {
			return err
		}
		done, err := c.Repair(ctx, m, func(ctx context.Context, first, last txn.ID) (record.Frame, error) {
			return readFromAny(ctx, sources, p, first, last)
		})
		if err != nil {
			return err
		}
		if err := printObject(cmd, repaired{int32(p), done.Records, done.Bytes, done.Segments, damageRows(done.Left)}); err != nil {
			return err
		}
		if len(done.Left) > 0 {
			return fmt.Errorf("%d damaged ranges are left", len(done.Left))
		}
		return nil
	})
}

func repairFlags(cmd *cobra.Command) (m storageclient.Repair, sources []string, err error) {
	f := cmd.Flags()
	var numbers [3]int64
	for i, name := range []string{"from", "to", "committed"} {
		if numbers[i], err = f.GetInt64(name); err != nil {
			return m, nil, err
		}
	}
	m.First, m.Last, m.Committed = txn.ID(numbers[0]), txn.ID(numbers[1]), txn.ID(numbers[2])
	if sources, err = f.GetStringSlice("source"); err != nil {
		return m, nil, err
	}
	if len(sources) == 0 {
		return m, nil, usagef("%s needs --source host:port,...", cmd.CommandPath())
	}
	return m, sources, nil
}

// dialSources connects to those that answer; the error says that none does.
func dialSources(ctx context.Context, addresses []string) (sources []*storageclient.Client, err error) {
	var errs []error
	for _, addr := range addresses {
		c, err := dialStorage(ctx, addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		sources = append(sources, c)
	}
	if len(sources) == 0 {
		return nil, errors.Join(errs...)
	}
	return sources, nil
}

// repairBytes is how much one answer of a repair brings.
const repairBytes = 1 << 20

func readFromAny(ctx context.Context, sources []*storageclient.Client, p waltz.Partition, first, last txn.ID) (record.Frame, error) {
	var errs []error
	for _, s := range sources {
		f, err := s.Read(ctx, p, first, last, repairBytes)
		if err == nil {
			return f, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
