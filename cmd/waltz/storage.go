package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

func newStorage() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Run and look after storages, which keep replicas of partitions",
		Example: `  waltz storage run --dir /var/lib/waltz/s1 --name s1 --listen 10.0.0.1:7272
  waltz storage list --storage 10.0.0.1:7272`,
	}
	asGroup(cmd)
	cmd.AddCommand(newStorageRun(), newStorageList(), newStorageCreate(), newStorageRemove(), newStorageAvailability(),
		newStorageReset(), newStorageChecksum(), newStorageScrub(), newStorageRepair())
	return cmd
}

// storageFlags are the flags of every command that talks to one storage.
func storageFlags(cmd *cobra.Command) {
	cmd.Flags().String("storage", "", "address of the storage, host:port")
	cmd.Flags().Duration("timeout", 10*time.Second, "how long to wait for the storage to answer")
	need(cmd, "storage")
}

// onStorage does something with the storage that the flags name.
func onStorage(cmd *cobra.Command, do func(context.Context, *storageclient.Client) error) (err error) {
	timeout, err := cmd.Flags().GetDuration("timeout")
	if err != nil {
		return err
	}
	addr := cmd.Flag("storage").Value.String()
	if err := checkAddress("storage", addr); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
	defer cancel()
	c, err := dialStorage(ctx, addr)
	if err != nil {
		return inTime(ctx, err, timeout)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return inTime(ctx, do(ctx, c), timeout)
}

// inTime adds to an error that --timeout is behind it, if so.
func inTime(ctx context.Context, err error, timeout time.Duration) error {
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w (--timeout is %s)", err, timeout)
	}
	return err
}

// checkAddress finds a mistyped host:port before anybody is asked.
func checkAddress(flag, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 {
		return usagef("--%s %q: want host:port", flag, addr)
	}
	return nil
}

// replicaFlags are the flags of every command about one replica. Which partition has
// to be said: some of them delete.
func replicaFlags(cmd *cobra.Command) {
	storageFlags(cmd)
	partitionFlag(cmd)
	need(cmd, "partition")
}

// dialStorage connects to a storage of whichever cluster.
func dialStorage(ctx context.Context, addr string) (*storageclient.Client, error) {
	o := storageclient.Options{Address: addr}
	who, err := storageclient.Identify(ctx, o)
	if err != nil {
		return nil, err
	}
	if o.ClusterKey = who.ClusterKey; o.ClusterKey == "" {
		return nil, errors.New("the storage at " + addr + " belongs to no cluster yet, and holds nothing")
	}
	return storageclient.New(o)
}

// incarnationFlag adds --incarnation.
func incarnationFlag(cmd *cobra.Command) {
	cmd.Flags().Uint64("incarnation", 0, "do it only if the replica has this incarnation (default: whichever)")
}

func incarnation(cmd *cobra.Command) (session.Incarnation, error) {
	n, err := cmd.Flags().GetUint64("incarnation")
	return session.Incarnation(n), err
}

// damageRow is one damaged range as commands print it.
type damageRow struct {
	Partition int32  `json:"partition"`
	First     txn.ID `json:"first"`
	Last      txn.ID `json:"last"`
	File      string `json:"file"`
	Offset    int64  `json:"offset"`
	Reason    string `json:"reason"`
}

func (d damageRow) String() string {
	return fmt.Sprintf("partition %d from %d to %d: %s at %d: %s", d.Partition, d.First, d.Last, d.File, d.Offset, d.Reason)
}

func damageRows(all []wire.StorageDamage) []damageRow {
	rows := []damageRow{}
	for _, d := range all {
		rows = append(rows, damageRow{int32(d.Partition), d.First, d.Last, d.File, d.Offset, d.Reason})
	}
	return rows
}
