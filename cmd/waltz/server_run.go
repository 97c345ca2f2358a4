package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/adminrpc"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
	"github.com/waltz-log/waltz/server"
)

func newServerRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Serve the partitions of a cluster from its storages",
		Long: `Serve all partitions of a cluster, whose records the storages named in its metadata
keep. One line on stdout tells that all partitions are open, and where; it comes
when a majority of each partition's storages answers, and those that come later are
caught up.

With local metadata the server owns the folder: there is one server.

--create founds the cluster if the metadata holds none, with --partitions
partitions that all have the storages of --storages.

SIGTERM and SIGINT drain it: what was taken is answered, then it ends with exit
code 0.`,
		Example: `  waltz server run --metadata file:///var/lib/waltz/metadata --listen 10.0.0.1:7171
  waltz server run --metadata file:///var/tmp/m --create --partitions 4 --storages s1=127.0.0.1:7272,s2=127.0.0.1:7273,s3=127.0.0.1:7274`,
		Args: cobra.NoArgs,
		RunE: runServer,
	}
	f := cmd.Flags()
	f.String("metadata", "", "the cluster's metadata: file:///dir")
	f.Bool("create", false, "found the cluster if there is none")
	f.Int("partitions", 1, "partitions of a cluster that is founded")
	f.StringSlice("storages", nil, "storages of a cluster that is founded, name=host:port,...")
	f.String("name", "waltz", "name, for people, of a cluster that is founded")
	listenFlags(cmd, "127.0.0.1:7171")
	procsFlag(cmd)
	need(cmd, "metadata")
	return cmd
}

// serverReady is what server run prints.
type serverReady struct {
	Address    string `json:"address"`
	Partitions int    `json:"partitions"`
	ClusterKey string `json:"cluster_key"`
	Metadata   string `json:"metadata"`
	Metrics    string `json:"metrics,omitempty"`
	Damaged    []int  `json:"damaged_partitions,omitempty"` // those that stay closed
}

func runServer(cmd *cobra.Command, _ []string) (err error) {
	if err := errors.Join(checkListen(cmd), limitProcs(cmd)); err != nil {
		return err
	}
	create, err := cmd.Flags().GetBool("create")
	if err != nil {
		return err
	}
	m, err := openMetadata(cmd.Flag("metadata").Value.String(), create)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	c, err := findCluster(cmd, m)
	if err != nil {
		return err
	}
	storages, err := dialStorages(cmd, m, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, storages.Close()) }()
	log, err := logger(cmd)
	if err != nil {
		return err
	}
	s, err := server.New(server.Options{
		ClusterKey: c.Key, ClusterName: c.Name, Partitions: c.Partitions, Metadata: m, Find: find(storages), Logger: log,
	})
	if err != nil {
		return err
	}
	return serveCluster(cmd, s, &admin.Cluster{Metadata: m, Storages: storages, Leaders: s, Logger: log}, c)
}

// serveCluster serves until the process is told to end.
func serveCluster(cmd *cobra.Command, s *server.Server, o admin.Operator, c metadata.Cluster) (err error) {
	g := grpc.NewServer(s.GRPCOptions()...)
	s.Register(g)
	adminrpc.Register(g, o)
	s.Start()
	p, err := serveGRPC(cmd, g)
	if err != nil {
		return errors.Join(err, stopServer(cmd, s))
	}
	defer p.stop()
	defer func() { err = errors.Join(err, stopServer(cmd, s)) }()
	metrics, stop, err := serveMetrics(cmd, s.Collector())
	if err != nil {
		return err
	}
	defer stop()
	ready := serverReady{
		Address: "waltz://" + p.addr.String(), Partitions: c.Partitions, ClusterKey: c.Key,
		Metadata: cmd.Flag("metadata").Value.String(), Metrics: metrics,
	}
	if err := awaitReady(cmd, s, &ready); err != nil {
		return err
	}
	select {
	case <-cmd.Context().Done():
		return nil
	case err := <-p.failed:
		return err
	}
}

// awaitReady prints the line when all partitions are open, but for damaged ones.
func awaitReady(cmd *cobra.Command, s *server.Server, r *serverReady) error {
	err := s.Ready(cmd.Context())
	if d, ok := errors.AsType[*server.DamagedError](err); ok {
		for _, p := range d.Partitions {
			r.Damaged = append(r.Damaged, int(p))
		}
		err = nil
	}
	if cmd.Context().Err() != nil {
		return nil //nolint:nilerr // it was stopped, which is no failure
	}
	if err != nil {
		return err
	}
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, *r)
	}
	closed := ""
	if len(r.Damaged) > 0 {
		closed = fmt.Sprintf(", of which damage keeps closed %v", r.Damaged)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "serving %s: %d partitions of the cluster in %s%s\n", r.Address, r.Partitions, r.Metadata, closed)
	return err
}

func stopServer(cmd *cobra.Command, s *server.Server) error {
	ctx, cancel, err := drainContext(cmd)
	if err != nil {
		return err
	}
	defer cancel()
	return s.Stop(ctx)
}

// openMetadata opens the metadata at an address. Unless a cluster is to be founded
// there, nothing is made where an address was mistyped.
func openMetadata(addr string, found bool) (metadata.Store, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Scheme != "file" || u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.Path == "/" {
		return nil, usagef("--metadata %q: want file:///dir with an absolute folder", addr)
	}
	if _, err := os.Stat(u.Path); errors.Is(err, fs.ErrNotExist) && !found {
		return nil, noCluster(addr)
	}
	return local.Open(local.Options{Dir: u.Path})
}

// findCluster reads the cluster's identity, or founds the cluster if the flags ask
// for it.
func findCluster(cmd *cobra.Command, m metadata.Store) (metadata.Cluster, error) {
	c, err := metadata.LoadCluster(cmd.Context(), m)
	if !errors.Is(err, metadata.ErrNotFound) {
		return c, err
	}
	create, err := cmd.Flags().GetBool("create")
	if err != nil {
		return c, err
	}
	if !create {
		return c, noCluster(cmd.Flag("metadata").Value.String())
	}
	return foundCluster(cmd, m)
}

func foundCluster(cmd *cobra.Command, m metadata.Store) (metadata.Cluster, error) {
	f := cmd.Flags()
	partitions, err := f.GetInt("partitions")
	if err != nil {
		return metadata.Cluster{}, err
	}
	list, err := f.GetStringSlice("storages")
	if err != nil {
		return metadata.Cluster{}, err
	}
	storages, target, err := parseStorages(list)
	if err != nil {
		return metadata.Cluster{}, err
	}
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	founding := metadata.Founding{
		Cluster:  metadata.Cluster{FormatVersion: metadata.FormatVersion, Key: hex.EncodeToString(key[:]), Name: cmd.Flag("name").Value.String(), Partitions: partitions},
		Storages: storages, Replication: metadata.Replication{Replicas: len(storages)},
	}
	for range partitions {
		founding.Targets = append(founding.Targets, target)
	}
	return founding.Cluster, metadata.Found(cmd.Context(), m, founding)
}

// parseStorages reads name=host:port,...
func parseStorages(list []string) (storages []metadata.Storage, names []string, err error) {
	for _, entry := range list {
		name, address, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, nil, usagef("--storages %q: want name=host:port", entry)
		}
		storages = append(storages, metadata.Storage{Name: name, Address: address})
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, nil, usagef("--create needs --storages name=host:port,...")
	}
	return storages, names, nil
}

// dialStorages makes the ways to the storages of the cluster, and to those that
// are added later.
func dialStorages(cmd *cobra.Command, m metadata.Store, c metadata.Cluster) (*storageclient.Directory, error) {
	log, err := logger(cmd)
	if err != nil {
		return nil, err
	}
	return storageclient.NewDirectory(cmd.Context(), m, storageclient.Options{ClusterKey: c.Key, CreateReplicas: true, Logger: log})
}

// find is how a server finds its storages.
func find(d *storageclient.Directory) server.FindFunc {
	return func(storage string) (server.Replica, bool) {
		c, ok := d.Find(storage)
		return c, ok
	}
}
