package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/embedded"
)

func newDev() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Serve a whole log from one process and one folder",
		Long: `Serve a log with one storage and local metadata from one process. It is durable,
and survives kill -9. One line on stdout tells that it is ready, and where.

A partition that damage keeps closed is named, and refused as damaged; the others
are served.

SIGTERM and SIGINT drain it: what was taken is answered, then it ends with exit
code 0. When the disk fails it ends with 1: start it again, and recovery finds out
what is there.`,
		Example: `  waltz dev --dir /var/tmp/waltz --listen 127.0.0.1:7171 --partitions 4
  waltz dev --dir /var/tmp/waltz --metrics-listen 127.0.0.1:7172`,
		Args: cobra.NoArgs,
		RunE: runDev,
	}
	f := cmd.Flags()
	f.String("dir", "", "folder of the log, made if need be")
	f.String("listen", "127.0.0.1:7171", "address to serve on, host:port; port 0 picks one")
	f.Int("partitions", 0, "partitions of a new log; an existing one must have as many (default: what it has, or 1)")
	f.String("metrics-listen", "", "address of Prometheus metrics at /metrics and profiles at /debug/pprof, host:port (default: none)")
	f.Duration("drain", 10*time.Second, "how long to wait for what is in flight at the end")
	need(cmd, "dir")
	return cmd
}

// ready is what dev prints.
type ready struct {
	Address    string `json:"address"`
	Partitions int    `json:"partitions"`
	ClusterKey string `json:"cluster_key"`
	Dir        string `json:"dir"`
	Metrics    string `json:"metrics,omitempty"`
	Damaged    []int  `json:"damaged_partitions,omitempty"` // those that stay closed
}

func runDev(cmd *cobra.Command, _ []string) (err error) {
	o, err := devOptions(cmd)
	if err != nil {
		return err
	}
	w, err := embedded.Open(cmd.Context(), o)
	if err != nil {
		return err
	}
	defer func() {
		ended := drain(cmd, w)
		switch failed := w.Err(); {
		case failed == nil, errors.Is(failed, embedded.ErrClosed):
			err = errors.Join(err, ended)
		case err == nil:
			err = failed // what the end says then is this once more
		}
	}()
	metrics, stop, err := serveMetrics(cmd, w)
	if err != nil {
		return err
	}
	defer stop()
	r := ready{"waltz://" + w.Addr().String(), w.Cluster().Partitions, w.Cluster().Key, o.Dir, metrics, damaged(w)}
	if err := printReady(cmd, r); err != nil {
		return err
	}
	select {
	case <-cmd.Context().Done():
		return nil
	case <-w.Done():
		return w.Err()
	}
}

// damaged lists the partitions that stay closed.
func damaged(w *embedded.Waltz) (partitions []int) {
	if d := w.Damaged(); d != nil {
		for _, p := range d.Partitions {
			partitions = append(partitions, int(p))
		}
	}
	return partitions
}

func devOptions(cmd *cobra.Command) (o embedded.Options, err error) {
	f := cmd.Flags()
	if o.Logger, err = logger(cmd); err != nil {
		return o, err
	}
	if o.Partitions, err = f.GetInt("partitions"); err != nil {
		return o, err
	}
	if o.Partitions < 0 || f.Changed("partitions") && o.Partitions == 0 {
		return o, usagef("--partitions %d: a log has at least 1", o.Partitions)
	}
	o.Listen = f.Lookup("listen").Value.String()
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		return o, usagef("--listen %q: want host:port", o.Listen)
	}
	o.Dir, err = filepath.Abs(f.Lookup("dir").Value.String())
	return o, err
}

// drain ends the log after what is in flight.
func drain(cmd *cobra.Command, w *embedded.Waltz) error {
	max, err := cmd.Flags().GetDuration("drain")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), max)
	defer cancel()
	return w.Close(ctx)
}

func printReady(cmd *cobra.Command, r ready) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, r)
	}
	closed := ""
	if len(r.Damaged) > 0 {
		closed = fmt.Sprintf(", of which damage keeps closed %v", r.Damaged)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "serving %s: %d partitions in %s%s\n", r.Address, r.Partitions, r.Dir, closed)
	return err
}

// headerMax bounds how long a reader of metrics may take to ask.
const headerMax = 5 * time.Second

// serveMetrics serves metrics and profiles if the flags ask for it, and returns
// their address.
func serveMetrics(cmd *cobra.Command, w *embedded.Waltz) (addr string, stop func(), err error) {
	listen := cmd.Flag("metrics-listen").Value.String()
	if listen == "" {
		return "", func() {}, nil
	}
	l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
	if err != nil {
		return "", nil, fmt.Errorf("listen for metrics on %s: %w", listen, err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry.MustRegister(w.Collectors()...)
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
	}, nil
}
