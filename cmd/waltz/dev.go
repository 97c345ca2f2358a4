package main

import (
	"errors"
	"fmt"
	"path/filepath"

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
	f.Int("partitions", 0, "partitions of a new log; an existing one must have as many (default: what it has, or 1)")
	listenFlags(cmd, "127.0.0.1:7171")
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
	l, err := listenMetrics(cmd) // before there is a log, as embedded.Open does with the other address
	if err != nil {
		return err
	}
	w, err := embedded.Open(cmd.Context(), o)
	if err != nil {
		return errors.Join(err, closeListener(l))
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
	metrics, stop := serveMetricsOn(l, w.Collectors()...)
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
	if f.Changed("partitions") {
		if err := checkPartitions(o.Partitions, 1); err != nil {
			return o, err
		}
	}
	o.Listen = f.Lookup("listen").Value.String()
	if err := checkListen(cmd); err != nil {
		return o, err
	}
	o.Dir, err = filepath.Abs(f.Lookup("dir").Value.String())
	return o, err
}

// drain ends the log after what is in flight.
func drain(cmd *cobra.Command, w *embedded.Waltz) error {
	ctx, cancel, err := drainContext(cmd)
	if err != nil {
		return err
	}
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
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "serving %s: %s in %s%s\n", r.Address, counted(r.Partitions, "partition"), r.Dir, closed)
	return err
}
