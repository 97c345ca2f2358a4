package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/adminrpc"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
)

func newCluster() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Found a cluster, see its state, and change its storages and replicas",
		Long: `Found a cluster, see its state, and change its storages and replicas.

With local metadata (file:///dir) only the process that owns the folder can change
it: while a server runs ask that one by --server, else name the folder by
--metadata.`,
		Example: `  waltz cluster init --metadata file:///var/lib/waltz/metadata --partitions 16 --storage s1=10.0.0.1:7272/rack1 --storage s2=10.0.0.2:7272/rack2 --storage s3=10.0.0.3:7272/rack3
  waltz cluster status --server 10.0.0.1:7171`,
	}
	asGroup(cmd)
	cmd.AddCommand(newClusterInit(), newClusterStatus(), newClusterStorage(), newClusterMove(), newClusterRebalance(), newClusterRecover())
	return cmd
}

// operatorFlags are the flags of every command that has an operator do something.
func operatorFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("server", "", "a server of the cluster, host:port")
	f.String("metadata", "", "the cluster's metadata, if no server runs: file:///dir")
	f.Duration("timeout", 30*time.Second, "how long it may take")
}

// operate runs f with the operator that the flags name.
func operate(cmd *cobra.Command, f func(context.Context, admin.Operator) error) (err error) {
	server, address := cmd.Flag("server").Value.String(), cmd.Flag("metadata").Value.String()
	if (server == "") == (address == "") {
		return usagef("%s needs --server or --metadata; see %[1]s --help", cmd.CommandPath())
	}
	ctx, cancel := withTimeout(cmd)
	defer cancel()
	if server != "" {
		return operateServer(ctx, strings.TrimPrefix(server, "waltz://"), f)
	}
	m, err := openMetadata(address, false)
	if _, locked := errors.AsType[*local.LockedError](err); locked {
		return fmt.Errorf("%w: if that is the cluster's server, ask it by --server host:port", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	c, err := metadata.LoadCluster(ctx, m)
	if errors.Is(err, metadata.ErrNotFound) {
		return noCluster(address)
	}
	if err != nil {
		return err
	}
	log, err := logger(cmd)
	if err != nil {
		return err
	}
	d, err := storageclient.NewDirectory(ctx, m, storageclient.Options{ClusterKey: c.Key, Logger: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return f(ctx, &admin.Cluster{Metadata: m, Storages: d, Logger: log})
}

// operateServer runs f with a server of the cluster.
func operateServer(ctx context.Context, addr string, f func(context.Context, admin.Operator) error) error {
	if err := checkAddress("server", addr); err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return usagef("--server %q: %w", addr, err)
	}
	defer func() { _ = conn.Close() }()
	err = f(ctx, adminrpc.NewClient(conn))
	switch status.Code(err) {
	case codes.Unavailable, codes.Unimplemented:
		return fmt.Errorf("no server of a cluster answers at %s: %w", addr, err)
	}
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("server %s: %w (%w)", addr, err, context.Cause(ctx))
	}
	return err
}

func noCluster(address string) error {
	return errors.New("there is no cluster in " + address + "; waltz cluster init founds one")
}

// names joins storages for a table; none is a dash.
func names(storages []string) string {
	if len(storages) == 0 {
		return "-"
	}
	return strings.Join(storages, ",")
}

// neededPartition returns --partition, which must be given.
func neededPartition(cmd *cobra.Command) (txn.Partition, error) {
	n, err := strconv.ParseInt(cmd.Flag("partition").Value.String(), 10, 32)
	if err != nil || n < 0 {
		return 0, usagef("--partition %q: want a number, from 0", cmd.Flag("partition").Value)
	}
	return txn.Partition(n), nil
}
