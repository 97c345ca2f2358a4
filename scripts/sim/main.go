// Command sim runs schedules of the simulator, and tells the shortest form of
// the first that breaks a rule.
//
//	go run ./scripts/sim -seeds 100000          from seed 0 on, on all cores
//	go run ./scripts/sim -from 17 -seeds 1 -v   one seed, and all that happens in it
//	go run ./scripts/sim -mutants               which seed shows each planted bug
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/waltz-log/waltz/internal/sim"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

type options struct {
	seeds, from uint64
	workers     int
	words       bool
	terse       bool
	mutants     bool
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.Uint64Var(&o.seeds, "seeds", 10_000, "how many schedules to run")
	flags.Uint64Var(&o.from, "from", 0, "the first seed")
	flags.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "schedules at a time")
	flags.BoolVar(&o.words, "v", false, "tell everything that happens in the first seed")
	flags.BoolVar(&o.terse, "terse", false, "name the seed of a failure only")
	flags.BoolVar(&o.mutants, "mutants", false, "plant every bug in turn, and say which seed shows it")
	return o, flags.Parse(args)
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case o.mutants:
		return hunt(ctx, o, out)
	case o.words:
		return tell(o.from, out)
	}
	start := time.Now()
	progress := func(done sim.Progress) {
		fmt.Fprintf(out, "%d schedules, %d messages, %d faults, %.0f schedules/min\n",
			done.Schedules, done.Messages, done.Faults, float64(done.Schedules)/time.Since(start).Minutes())
	}
	if o.terse {
		progress = nil
	}
	failed, done := sim.Search(ctx, o.from, o.seeds, o.workers, progress)
	switch {
	case failed != nil && o.terse:
		return fmt.Errorf("seed %d, %d schedules: %w", failed.Seed, done.Schedules, failed.Err)
	case failed != nil:
		return fmt.Errorf("%s", failed.Transcript())
	case ctx.Err() != nil:
		return ctx.Err()
	}
	l := done.Learners
	fmt.Fprintf(out, "newcomers: %d begun, %d disturbed, %d abandoned, %d targets offered, %d became members, %d of them behind; %d forced recoveries\n",
		l.Begun, l.Disturbed, l.Abandoned, l.Offered, l.Joined, l.Behind, done.Forced)
	fmt.Fprintf(out, "clean: %d schedules, %d messages, %d faults, %d schedules could not open a session in the end for lost disks\n",
		done.Schedules, done.Messages, done.Faults, done.Closed)
	return nil
}

// tell prints one schedule.
func tell(seed uint64, out io.Writer) error {
	r := sim.Run(seed)
	for _, line := range r.Words() {
		fmt.Fprintln(out, line)
	}
	fmt.Fprintf(out, "%d messages, %d faults, hash %016x\n", r.Messages, r.Faults, r.Hash)
	return r.Err
}
