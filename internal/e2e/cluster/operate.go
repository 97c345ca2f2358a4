package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

// Operate returns what an operator has of the cluster, whose storages it enters into
// the metadata, each in a group of its own. It asks the front server about
// partitions, and storages over links of its own. Called again it returns the same.
func (c *Cluster) Operate() *admin.Cluster {
	c.t.Helper()
	if c.operator != nil {
		return c.operator
	}
	ways := map[string]*Link{}
	for _, s := range c.Storages {
		_, err := metadata.SaveStorage(c.t.Context(), c.Meta, metadata.Storage{Name: s.Name, Address: s.Name + ":1"}, metadata.Absent)
		require.NoError(c.t, err)
		l := newLink()
		if s.Running() {
			l.lead(s.net)
		}
		s.links = append(s.links, l)
		ways[s.Name] = l
	}
	_, err := metadata.SaveReplication(c.t.Context(), c.Meta, metadata.Replication{Replicas: len(c.M(0).Target)}, metadata.Absent)
	require.NoError(c.t, err)
	d, err := storageclient.NewDirectory(c.t.Context(), c.Meta, storageclient.Options{
		ClusterKey: c.o.key(), Logger: c.o.Logger,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			name, _, _ := net.SplitHostPort(addr)
			if ways[name] == nil {
				return nil, fmt.Errorf("no storage %s", name)
			}
			return ways[name].Dial(ctx, addr)
		},
	})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, d.Close()) })
	c.operator = &admin.Cluster{Metadata: c.Meta, Storages: d, Leaders: frontLeaders{c}, Logger: c.o.Logger}
	return c.operator
}

type frontLeaders struct{ c *Cluster }

func (f frontLeaders) Leader(p txn.Partition) (admin.Leader, bool) {
	s := f.c.Front()
	if s == nil {
		return admin.Leader{}, false
	}
	return s.Leader(p)
}

// sourceFor reads a partition's records from any storage but one, as a repair does.
func (c *Cluster) sourceFor(without *Storage, p txn.Partition) func(context.Context, txn.ID, txn.ID) (record.Frame, error) {
	return func(ctx context.Context, first, last txn.ID) (record.Frame, error) {
		err := errNoSource
		for _, s := range c.Storages {
			client, ok := c.Operate().Storages.Find(s.Name)
			if s == without || !ok {
				continue
			}
			f, failed := client.Read(ctx, p, first, last, 1<<20)
			if failed == nil {
				return f, nil
			}
			err = errors.Join(err, failed)
		}
		return nil, err
	}
}
