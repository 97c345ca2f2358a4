package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
)

// listenFlags are the flags of every command that is a process of a cluster.
func listenFlags(cmd *cobra.Command, listen string) {
	f := cmd.Flags()
	f.String("listen", listen, "address to serve on, host:port; port 0 picks one")
	f.String("metrics-listen", "", "address of Prometheus metrics at /metrics and profiles at /debug/pprof, host:port (default: none)")
	f.Duration("drain", 10*time.Second, "how long to wait for what is in flight at the end")
}

// procsFlag lets a process of a cluster leave a processor to others.
func procsFlag(cmd *cobra.Command) {
	cmd.Flags().Int("procs", 0, "processors that it computes on at a time (default: GOMAXPROCS if set, else all but one)")
}

// limitProcs carries out --procs. All but one, since a process of a cluster hands
// what it gets from goroutine to goroutine, and a runtime that has an idle processor
// wakes it for each of them: on two processors, with a server and three storages, that
// took as much time as all the rest. What the kernel does for it, writing to the
// disk above all, runs on the others anyway.
func limitProcs(cmd *cobra.Command) error {
	n, err := cmd.Flags().GetInt("procs")
	switch {
	case err != nil:
		return err
	case n < 0:
		return usagef("--procs %d: want 1 or more", n)
	case n == 0 && os.Getenv("GOMAXPROCS") != "":
		return nil
	case n == 0:
		n = max(1, runtime.GOMAXPROCS(0)-1)
	}
	runtime.GOMAXPROCS(n)
	return nil
}

// checkListen finds a mistyped address before anything is opened.
func checkListen(cmd *cobra.Command) error {
	for _, flag := range []string{"listen", "metrics-listen"} {
		addr := cmd.Flag(flag).Value.String()
		if addr == "" && flag != "listen" {
			continue
		}
		_, port, err := net.SplitHostPort(addr)
		if _, portErr := net.LookupPort("tcp", port); err != nil || portErr != nil {
			return usagef("--%s %q: want host:port", flag, addr)
		}
	}
	return nil
}

// drainContext returns the context of a process's end, which --drain bounds.
func drainContext(cmd *cobra.Command) (context.Context, context.CancelFunc, error) {
	drain, err := cmd.Flags().GetDuration("drain")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), drain)
	return ctx, cancel, nil
}

// grpcProcess is a gRPC server on an address.
type grpcProcess struct {
	server *grpc.Server
	addr   net.Addr
	failed chan error // receives why it ended, if nobody stopped it
	done   chan struct{}
}

func serveGRPC(cmd *cobra.Command, s *grpc.Server) (*grpcProcess, error) {
	listen := cmd.Flag("listen").Value.String()
	l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", listen, err)
	}
	p := &grpcProcess{server: s, addr: l.Addr(), failed: make(chan error, 1), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			p.failed <- fmt.Errorf("serve on %s: %w", listen, err)
		}
	}()
	return p, nil
}

// stop ends all connections.
func (p *grpcProcess) stop() {
	p.server.Stop()
	<-p.done
}

// headerMax bounds how long a reader of metrics may take to ask.
const headerMax = 5 * time.Second

// serveMetrics serves metrics and profiles if the flags ask for it, and returns
// their address.
func serveMetrics(cmd *cobra.Command, metrics ...prometheus.Collector) (addr string, stop func(), err error) {
	l, err := listenMetrics(cmd)
	if err != nil {
		return "", nil, err
	}
	addr, stop = serveMetricsOn(l, metrics...)
	return addr, stop, nil
}

// listenMetrics takes the address of metrics; nil if the flags ask for none.
func listenMetrics(cmd *cobra.Command) (net.Listener, error) {
	listen := cmd.Flag("metrics-listen").Value.String()
	if listen == "" {
		return nil, nil
	}
	l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("listen for metrics on %s: %w", listen, err)
	}
	return l, nil
}

func closeListener(l net.Listener) error {
	if l == nil {
		return nil
	}
	return l.Close()
}

// serveMetricsOn is serveMetrics on what listenMetrics returned, which stop closes.
func serveMetricsOn(l net.Listener, metrics ...prometheus.Collector) (addr string, stop func()) {
	if l == nil {
		return "", func() {}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(metrics...)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: headerMax}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // ends when it is closed
	}()
	return "http://" + l.Addr().String() + "/metrics", func() {
		_ = s.Close()
		<-done
	}
}
