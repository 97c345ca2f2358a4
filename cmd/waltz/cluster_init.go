package main

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/metadata"
)

func newClusterInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Found a cluster in empty metadata",
		Long: `Found a cluster in empty metadata: its partitions, its storages with their groups,
and which storages have which partition. A group is what fails together, a rack say;
no two replicas of a partition are in one group if there are enough.

The number of partitions stays for ever. Storages and replicas can be changed. Begin
a server on the metadata next: waltz server run.`,
		Example: `  waltz cluster init --metadata file:///var/lib/waltz/metadata --partitions 16 --replicas 3 --storage s1=10.0.0.1:7272/rack1 --storage s2=10.0.0.2:7272/rack2 --storage s3=10.0.0.3:7272/rack3
  waltz cluster init --metadata file:///var/tmp/m --storage s1=127.0.0.1:7272`,
		Args: cobra.NoArgs,
		RunE: runClusterInit,
	}
	f := cmd.Flags()
	f.String("metadata", "", "the cluster's metadata: file:///dir")
	f.String("name", "waltz", "name of the cluster, for people")
	f.Int("partitions", 1, "partitions of the log")
	f.Int("replicas", 0, "replicas of each partition (default: 3, or as many as there are storages)")
	f.StringArray("storage", nil, "a storage, name=host:port/group; without a group it is one of its own; may be given many times")
	need(cmd, "metadata")
	return cmd
}

// founded is what init prints.
type founded struct {
	ClusterKey  string `json:"cluster_key"`
	ClusterName string `json:"cluster_name"`
	Partitions  int    `json:"partitions"`
	Replicas    int    `json:"replicas"`
	Storages    int    `json:"storages"`
}

func runClusterInit(cmd *cobra.Command, _ []string) (err error) {
	f := cmd.Flags()
	founding := admin.Founding{Name: cmd.Flag("name").Value.String()}
	if founding.Partitions, err = f.GetInt("partitions"); err != nil {
		return err
	}
	if founding.Replicas, err = f.GetInt("replicas"); err != nil {
		return err
	}
	list, err := f.GetStringArray("storage")
	if err != nil {
		return err
	}
	for _, entry := range list {
		s, err := parseStorage(entry)
		if err != nil {
			return err
		}
		founding.Storages = append(founding.Storages, s)
	}
	if err := founding.Check(); err != nil { // before a folder is made
		return &usageError{err}
	}
	m, err := openMetadata(cmd.Flag("metadata").Value.String(), true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	c, targets, err := admin.Found(cmd.Context(), m, founding)
	if err != nil {
		return err
	}
	return printObject(cmd, founded{c.Key, c.Name, c.Partitions, len(targets[0]), len(founding.Storages)})
}

// parseStorage reads name=host:port/group.
func parseStorage(entry string) (metadata.Storage, error) {
	name, rest, ok := strings.Cut(entry, "=")
	address, group, _ := strings.Cut(rest, "/")
	if !ok || name == "" || address == "" {
		return metadata.Storage{}, usagef("--storage %q: want name=host:port/group, as in s1=10.0.0.1:7272/rack1", entry)
	}
	return metadata.Storage{Name: name, Address: address, Group: group}, nil
}
