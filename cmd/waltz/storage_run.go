package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

func newStorageRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep replicas of partitions for the servers of a cluster",
		Long: `Keep replicas of partitions in one folder, for all servers of a cluster. One line
on stdout tells that it is ready, and where.

A storage with an empty folder belongs to the cluster of the first server that
calls it, unless --cluster-key says which. From then on it refuses others. With
--name it also refuses servers that mean another storage, so that a mistyped
address does not put two replicas onto one disk.

SIGTERM and SIGINT end it with exit code 0 when what was taken is on the disk. When
the disk fails it ends with 1: start it again, and recovery finds out what is
there.`,
		Example: `  waltz storage run --dir /var/lib/waltz/s1 --name s1 --listen 10.0.0.1:7272
  waltz storage run --dir /var/tmp/s1 --metrics-listen 127.0.0.1:7273`,
		Args: cobra.NoArgs,
		RunE: runStorage,
	}
	f := cmd.Flags()
	f.String("dir", "", "folder of the storage, made if need be")
	f.String("name", "", "the storage's name in the cluster's metadata (default: any)")
	f.String("cluster-key", "", "cluster that the storage belongs to (default: what the folder says, or the first server)")
	listenFlags(cmd, "127.0.0.1:7272")
	procsFlag(cmd)
	need(cmd, "dir")
	return cmd
}

// storageReady is what storage run prints.
type storageReady struct {
	Address    string `json:"address"`
	Name       string `json:"name,omitempty"`
	ClusterKey string `json:"cluster_key,omitempty"` // none: it belongs to no cluster yet
	Dir        string `json:"dir"`
	Metrics    string `json:"metrics,omitempty"`
}

func runStorage(cmd *cobra.Command, _ []string) (err error) {
	o, err := storageOptions(cmd)
	if err != nil {
		return err
	}
	if err := limitProcs(cmd); err != nil {
		return err
	}
	host, err := storage.NewHost(cmd.Context(), o)
	if err != nil {
		return err
	}
	server := grpc.NewServer(host.GRPCOptions()...)
	host.Register(server)
	p, err := serveGRPC(cmd, server)
	if err != nil {
		return errors.Join(err, host.Stop())
	}
	defer p.stop() // last, so that servers are told why
	defer func() { err = errors.Join(err, host.Stop()) }()
	metrics, stop, err := serveMetrics(cmd, &lateCollector{host: host})
	if err != nil {
		return err
	}
	defer stop()
	r := storageReady{Address: p.addr.String(), Name: o.Name, Dir: o.Storage.Dir, Metrics: metrics}
	if s := host.Storage(); s != nil {
		r.ClusterKey = s.ClusterKey()
	}
	if err := printStorageReady(cmd, r); err != nil {
		return err
	}
	select {
	case <-cmd.Context().Done():
		return nil
	case <-host.Failed():
		return host.Err()
	case err := <-p.failed:
		return err
	}
}

func storageOptions(cmd *cobra.Command) (o storage.HostOptions, err error) {
	if o.Storage.Logger, err = logger(cmd); err != nil {
		return o, err
	}
	if err := checkListen(cmd); err != nil {
		return o, err
	}
	f := cmd.Flags()
	o.Name = f.Lookup("name").Value.String()
	o.Storage.ClusterKey = f.Lookup("cluster-key").Value.String()
	o.Storage.FS = vfs.OS{}
	o.Storage.Dir, err = filepath.Abs(f.Lookup("dir").Value.String())
	return o, err
}

func printStorageReady(cmd *cobra.Command, r storageReady) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, r)
	}
	cluster := ", of no cluster yet"
	if r.ClusterKey != "" {
		cluster = " of cluster " + r.ClusterKey
	}
	name := r.Name
	if name != "" {
		name = " " + name
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "serving storage%s on %s: %s%s\n", name, r.Address, r.Dir, cluster)
	return err
}

// lateCollector is the storage's metrics, once it belongs to a cluster.
type lateCollector struct{ host *storage.Host }

// Describe implements prometheus.Collector: without descriptions the registry takes
// what comes.
func (c *lateCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *lateCollector) Collect(to chan<- prometheus.Metric) {
	if s := c.host.Storage(); s != nil {
		s.Collector().Collect(to)
	}
}
