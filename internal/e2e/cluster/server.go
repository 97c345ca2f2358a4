package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/memnet"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/server"
)

// Server is a server process.
type Server struct {
	*server.Server
	// Clients is the way of clients to it.
	Clients *Link
	// Metadata is its way to the metadata.
	Metadata *Metadata

	t        testing.TB
	net      *memnet.Listener
	grpc     *grpc.Server
	done     chan error
	links    []*Link // to the storages
	storages []*storageclient.Client
	stopped  bool
}

func (c *Cluster) newServer(generation int64) *Server {
	s := &Server{t: c.t, Clients: newLink(), Metadata: newMetadata(c.Meta, &c.changes, c.outage), net: memnet.Listen("server"), done: make(chan error, 1)}
	replicas := map[string]server.Replica{}
	for _, st := range c.Storages {
		l := newLink()
		l.lead(st.net)
		if !st.Running() {
			l.lead(nil)
		}
		st.links = append(st.links, l)
		s.links = append(s.links, l)
		client, err := storageclient.New(storageclient.Options{
			Address: st.Name + ":1", ClusterKey: c.o.key(), Name: st.Name, CreateReplicas: true, Dial: l.Dial, Logger: c.o.Logger,
		})
		require.NoError(c.t, err)
		s.storages = append(s.storages, client)
		replicas[st.Name] = client
	}
	o := server.Options{
		ClusterKey: c.o.key(), Partitions: c.o.Partitions, Metadata: s.Metadata, Replicas: replicas, Generation: generation, Logger: c.o.Logger,
		ReopenMax: 200 * time.Millisecond,
		HealEvery: -1, // damage is there until the test has it repaired
	}
	if c.o.Server != nil {
		c.o.Server(&o)
	}
	var err error
	s.Server, err = server.New(o)
	require.NoError(c.t, err)
	s.grpc = grpc.NewServer(s.GRPCOptions()...)
	s.Register(s.grpc)
	go func() { s.done <- s.grpc.Serve(s.net) }()
	s.Clients.lead(s.net)
	s.Start()
	return s
}

// Stop ends the process in an orderly way.
func (s *Server) Stop(ctx context.Context) {
	if s.stopped {
		return
	}
	_ = s.Server.Stop(ctx)
	s.down()
}

// Hold holds up everything between it and the storages.
func (s *Server) Hold() {
	for _, l := range s.links {
		l.Hold()
	}
}

// Kill ends the process at once: nothing that it says from now on gets anywhere.
func (s *Server) Kill() {
	if s.stopped {
		return
	}
	s.Clients.Cut()
	for _, l := range s.links {
		l.Cut()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Server.Stop(ctx)
	s.down()
}

func (s *Server) down() {
	s.stopped = true
	s.Clients.lead(nil)
	s.grpc.Stop()
	require.NoError(s.t, <-s.done)
	_ = s.net.Close()
	for _, c := range s.storages {
		require.NoError(s.t, c.Close())
	}
}
