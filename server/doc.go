// Package server is the process room of a Waltz server: it owns partitions,
// and serves clients over the contract of proto/clientpb.
//
// It wires rooms together and adds no rule of its own: package partition
// sequences, feed delivers, store replicates, wire encodes. What it holds is the
// table of partitions, one receiver and one sender per append stream, and the
// limits on everything.
//
//	s, err := server.New(server.Options{…})
//	g := grpc.NewServer(s.GRPCOptions()...)
//	s.Register(g)
//	s.Start()
//	go g.Serve(listener)
//	…
//	s.Stop(ctx) // answers what is in flight, ends the streams
//	g.Stop()
package server
