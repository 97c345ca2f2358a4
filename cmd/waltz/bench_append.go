package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/cmd/waltz/internal/measure"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/waltz"
)

const benchLock waltz.LockName = "bench"

func newBenchAppend() *cobra.Command {
	var l appendLoad
	cmd := &cobra.Command{
		Use:   "append",
		Short: "Measure appends: rate, latency, conflicts, flushes and CPU",
		Long: `Append transactions in a closed loop: as many as --inflight at any time, each
followed by the next when it is answered. Every one takes --locks write locks,
drawn from --lock-space, and carries the highest ID that this client has seen
committed in the partition; those refused for a conflict are counted, not
repeated, and are in no other figure.

Before and after the load the disk of --disk is measured: 2,000 times 4 KiB
written at the next offset and fdatasync, by one writer, into a zero-filled and
into a growing file. fdatasyncs_per_sec is what that disk's own counter says,
for the whole machine. cpu_us_per_tx is the CPU of this process and of the
server, if that is one process of this machine; cpu_us_per_tx_of is that of each
process alone, those that --cpu-of names by their addresses included.`,
		Example: `  waltz bench append --log waltz://127.0.0.1:7171 --size 512 --inflight 1 --duration 10s --disk /var/tmp
  waltz bench append --log file:///var/tmp/waltz --inflight 256 --locks 1 --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runBenchAppend(cmd, l) },
	}
	logFlags(cmd)
	mayCreate(cmd)
	f := cmd.Flags()
	f.IntVar(&l.size, "size", 512, "bytes of data in each transaction")
	f.IntVar(&l.inflight, "inflight", 1, "appends in flight")
	f.IntVar(&l.partitions, "partitions", 0, "partitions to spread them over, from 0 on; 0 is all")
	f.IntVar(&l.locks, "locks", 0, "write locks of each transaction")
	f.Uint64Var(&l.lockSpace, "lock-space", 1_000_000, "lock IDs of a partition to draw from")
	f.DurationVar(&l.duration, "duration", 10*time.Second, "how long to measure")
	f.DurationVar(&l.warmup, "warmup", time.Second, "how long to run before that")
	f.StringVar(&l.disk, "disk", os.TempDir(), "folder on the disk to measure; name the server's")
	f.StringSliceVar(&l.cpuOf, "cpu-of", nil, "further processes of this machine whose CPU is to be measured, name=host:port,...")
	f.StringVar(&l.profile, "profile", "", "write a CPU profile of this process to the file")
	return cmd
}

// appendLoad is what to append.
type appendLoad struct {
	size, inflight, partitions, locks int
	lockSpace                         uint64
	duration, warmup                  time.Duration
	disk, profile                     string
	cpuOf                             []string
}

type appendFigures struct {
	Transactions         int64   `json:"transactions"`
	TxPerSec             float64 `json:"tx_per_sec"`
	MBPerSec             float64 `json:"mb_per_sec"`
	Conflicts            int64   `json:"conflicts"`
	P50                  float64 `json:"p50_ms"`
	P99                  float64 `json:"p99_ms"`
	P999                 float64 `json:"p999_ms"`
	FdatasyncP50         float64 `json:"fdatasync_p50_ms"`
	FdatasyncGrowingP50  float64 `json:"fdatasync_growing_p50_ms"`
	FdatasyncsPerSec     float64 `json:"fdatasyncs_per_sec"`
	CPUMicrosPerAppended float64 `json:"cpu_us_per_tx"`

	CPUMicrosOf map[string]float64 `json:"cpu_us_per_tx_of"`
}

func runBenchAppend(cmd *cobra.Command, l appendLoad) error {
	if err := l.check(); err != nil {
		return err
	}
	return onLog(cmd, func(c *waltz.Client) (err error) {
		if l.partitions, err = benchPartitions(c, l.partitions); err != nil {
			return err
		}
		if err := l.fits(c.Limits()); err != nil {
			return err
		}
		figures, err := benchAppend(cmd, c, l)
		if err != nil {
			return err
		}
		return printObject(cmd, figures)
	})
}

func (l *appendLoad) check() error {
	if l.size < 0 || l.inflight < 1 || l.partitions < 0 || l.locks < 0 || l.lockSpace < 1 || l.duration <= 0 || l.warmup < 0 {
		return usagef("want --size, --partitions, --locks and --warmup from 0, --inflight and --lock-space from 1, --duration above 0")
	}
	if l.size > record.DataMax || l.locks > record.LocksMax-1 {
		return usagef("--size %d --locks %d: no log takes more than %d bytes and %d locks", l.size, l.locks, record.DataMax, record.LocksMax-1)
	}
	return checkPartitions(l.partitions, 0)
}

// fits checks the load against what the log takes.
func (l *appendLoad) fits(limits waltz.Limits) error {
	switch {
	case limits.DataBytesMax > 0 && int64(l.size) > limits.DataBytesMax:
		return fmt.Errorf("--size %d: the log takes at most %d bytes", l.size, limits.DataBytesMax)
	case limits.LocksMax > 0 && l.locks > limits.LocksMax:
		return fmt.Errorf("--locks %d: the log takes at most %d in one transaction", l.locks, limits.LocksMax)
	}
	return nil
}

func benchAppend(cmd *cobra.Command, c *waltz.Client, l appendLoad) (figures appendFigures, err error) {
	if err := figures.measureDisk(cmd, l, "before"); err != nil {
		return figures, err
	}
	b := &appendBench{load: l, client: c, seen: make([]atomic.Int64, l.partitions), latencies: newLatencies(l.inflight)}
	for p := range b.seen {
		hwm, err := c.HighWaterMark(cmd.Context(), waltz.Partition(p))
		if err != nil {
			return figures, err
		}
		b.seen[p].Store(int64(hwm))
	}
	if err := b.run(cmd, &figures); err != nil {
		return figures, err
	}
	return figures, figures.measureDisk(cmd, l, "after")
}

// measureDisk takes the two medians; of those before and after the load, the
// mean counts.
func (a *appendFigures) measureDisk(cmd *cobra.Command, l appendLoad, when string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "measuring the disk under %s %s the load\n", l.disk, when)
	for _, m := range []struct {
		zeroFilled bool
		median     *float64
	}{{true, &a.FdatasyncP50}, {false, &a.FdatasyncGrowingP50}} {
		times, err := measure.Flushes(l.disk, measure.FlushesMeasured, m.zeroFilled)
		if err != nil {
			return err
		}
		if median := millis(times.Median()); *m.median == 0 {
			*m.median = median
		} else {
			*m.median = (*m.median + median) / 2
		}
	}
	return nil
}

// appendBench is a running load.
type appendBench struct {
	load      appendLoad
	client    *waltz.Client
	latencies *latencies
	seen      []atomic.Int64 // highest ID known to be committed, by partition

	measuring            atomic.Bool
	committed, conflicts atomic.Int64
}

func (b *appendBench) run(cmd *cobra.Command, figures *appendFigures) error {
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	var workers sync.WaitGroup
	for w := range b.load.inflight {
		workers.Go(func() {
			if err := b.work(ctx, w); err != nil {
				cancel(err)
			}
		})
	}
	err := b.measure(ctx, cmd, figures)
	cancel(nil)
	workers.Wait()
	return err
}

// measure lets the load run, and takes the figures of the stretch after the
// warm-up.
func (b *appendBench) measure(ctx context.Context, cmd *cobra.Command, figures *appendFigures) error {
	if err := pause(ctx, b.load.warmup); err != nil {
		return err
	}
	cpu := newCPUMeter(cmd.Flag("log").Value.String(), cmd.ErrOrStderr())
	each, err := newCPUMeters(cpu.server, b.load.cpuOf)
	if err != nil {
		return err
	}
	stopProfile, err := profile(b.load.profile)
	if err != nil {
		return err
	}
	flushes, noCounter := measure.DiskFlushes(b.load.disk)
	cpu.begin()
	each.begin()
	start := time.Now()
	b.measuring.Store(true)
	stop := progress(ctx, cmd.ErrOrStderr(), func() string {
		took := time.Since(start)
		return fmt.Sprintf("%s of %s: %.0f transactions a second", took.Round(time.Second), b.load.duration, float64(b.committed.Load())/took.Seconds())
	})
	err = pause(ctx, b.load.duration)
	b.measuring.Store(false)
	took, used := time.Since(start).Seconds(), cpu.used()
	usedBy := each.used()
	stop()
	if err := errors.Join(err, stopProfile()); err != nil {
		return err
	}
	if after, err := measure.DiskFlushes(b.load.disk); err == nil && noCounter == nil {
		figures.FdatasyncsPerSec = float64(after-flushes) / took
	} else {
		fmt.Fprintln(cmd.ErrOrStderr(), "fdatasyncs_per_sec is 0:", errors.Join(noCounter, err))
	}
	b.fill(figures, took, used)
	figures.CPUMicrosOf = map[string]float64{}
	for name, cpu := range usedBy {
		figures.CPUMicrosOf[name] = float64(cpu.Microseconds()) / float64(max(figures.Transactions, 1))
	}
	return nil
}

func (b *appendBench) fill(figures *appendFigures, took float64, cpu time.Duration) {
	q := b.latencies.ms(50, 99, 99.9)
	figures.P50, figures.P99, figures.P999 = q[0], q[1], q[2]
	figures.Transactions, figures.Conflicts = b.committed.Load(), b.conflicts.Load()
	figures.TxPerSec = float64(figures.Transactions) / took
	figures.MBPerSec = figures.TxPerSec * float64(b.load.size) / 1e6
	figures.CPUMicrosPerAppended = float64(cpu.Microseconds()) / float64(max(figures.Transactions, 1))
}

// pause waits for a time that is measured, or until the load fails.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// work keeps one append in flight until ctx ends.
func (b *appendBench) work(ctx context.Context, worker int) error {
	rng := rand.New(rand.NewPCG(uint64(worker), uint64(time.Now().UnixNano())))
	tx := waltz.Transaction{Data: make([]byte, b.load.size), Locks: make([]waltz.Lock, b.load.locks)}
	for i := range tx.Data {
		tx.Data[i] = byte(rng.Uint32())
	}
	for {
		p := rng.IntN(b.load.partitions)
		for i := range tx.Locks {
			tx.Locks[i] = waltz.Lock{LockID: benchLock.ID(rng.Uint64N(b.load.lockSpace)), Mode: waltz.LockWrite}
		}
		tx.HighWaterMark = waltz.ID(b.seen[p].Load())
		start := time.Now()
		id, err := b.client.Append(ctx, waltz.Partition(p), tx)
		err = b.count(worker, p, id, time.Since(start), err)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the benchmark is over, and what it interrupts is not counted
		case err != nil:
			return err
		}
	}
}

// count takes the outcome of one append; an error that is no conflict ends the
// benchmark.
func (b *appendBench) count(worker, p int, id waltz.ID, took time.Duration, err error) error {
	var conflict *waltz.LockConflictError
	if errors.As(err, &conflict) {
		raise(&b.seen[p], int64(conflict.TransactionID))
		if b.measuring.Load() {
			b.conflicts.Add(1)
		}
		return nil
	}
	if err != nil {
		return err
	}
	raise(&b.seen[p], int64(id))
	if b.measuring.Load() {
		b.committed.Add(1)
		b.latencies.record(worker, took)
	}
	return nil
}

// raise makes a at least v.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); old < v && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}
