package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "cluster3:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	waltz      string // the binary
	dir        string // where the folders go: the disk to measure
	duration   time.Duration
	partitions int
	storages   int
	size       int
	kill       bool
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("cluster3", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.waltz, "waltz", "bin/waltz", "the waltz binary to measure")
	f.StringVar(&o.dir, "dir", os.TempDir(), "folder on the disk to measure")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "how long each case is measured")
	f.IntVar(&o.partitions, "partitions", 1, "partitions of the log")
	f.IntVar(&o.storages, "storages", 3, "storages, each with a replica of every partition")
	f.IntVar(&o.size, "size", 512, "bytes of data in each transaction")
	f.BoolVar(&o.kill, "kill", false, "also kill a storage under load and bring it back")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.duration <= 0 || o.partitions < 1 || o.storages < 1 || o.size < 0 {
		return o, errors.New("want -duration above 0, -partitions and -storages from 1, -size from 0")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := startCluster(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := measure(ctx, o, c, stdout); err != nil {
		return err
	}
	if o.kill {
		return killed(ctx, o, c, stdout)
	}
	return nil
}
