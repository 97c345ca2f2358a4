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
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	waltz    string // the binary
	dir      string // where the log goes: the disk to measure
	duration time.Duration
	count    int
	format   string
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.waltz, "waltz", "bin/waltz", "the waltz binary to measure")
	f.StringVar(&o.dir, "dir", os.TempDir(), "folder on the disk to measure")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "how long each case is measured")
	f.IntVar(&o.count, "count", 1, "how often each case is measured")
	f.StringVar(&o.format, "format", "table", "table or bench")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.format != "table" && o.format != "bench" {
		return o, fmt.Errorf("-format %q: want table or bench", o.format)
	}
	if o.count < 1 || o.duration <= 0 {
		return o, errors.New("want -count from 1 and -duration above 0")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	p := &printer{out: stdout, bench: o.format == "bench"}
	for range o.count {
		if err := measure(ctx, o, stderr, p); err != nil {
			return err
		}
	}
	return p.flush()
}

// measure runs every case once, each group of cases on a log of its own.
func measure(ctx context.Context, o options, stderr io.Writer, p *printer) error {
	for _, partitions := range []int{1, 64} {
		log, err := startLog(ctx, o, partitions, stderr)
		if err != nil {
			return err
		}
		err = measureLog(ctx, o, log, partitions, p)
		if err := errors.Join(err, log.stop()); err != nil {
			return err
		}
	}
	return nil
}

func measureLog(ctx context.Context, o options, log *devLog, partitions int, p *printer) error {
	for _, inflight := range []int{1, 64, 256, 1024} {
		var f appendFigures
		args := []string{"bench", "append", "--size", "512", "--locks", "1", "--inflight", fmt.Sprint(inflight), "--duration", o.duration.String(), "--disk", log.dir}
		if err := log.waltz(ctx, &f, args...); err != nil {
			return err
		}
		p.append(inflight, partitions, f)
	}
	var f readFigures
	if err := log.waltz(ctx, &f, "bench", "read"); err != nil {
		return err
	}
	p.read(partitions, f)
	return nil
}
