package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/waltz"
)

func newBenchRead() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "read",
		Short: "Measure reading partitions from the start to their high-water mark",
		Long: `Subscribe to partitions from their first transaction, one subscriber each, and
read until the high-water marks that they had when the benchmark began. Batches
are what one call of Next brought; p50_ms and p99_ms are how long it took.`,
		Example: `  waltz bench read --log waltz://127.0.0.1:7171 --partitions 1
  waltz bench read --log file:///var/tmp/waltz --headers-only --output json`,
		Args: cobra.NoArgs,
		RunE: runBenchRead,
	}
	logFlags(cmd)
	f := cmd.Flags()
	f.Int("partitions", 0, "partitions to read at once, from 0 on; 0 is all")
	f.Bool("headers-only", false, "leave the data out")
	f.String("profile", "", "write a CPU profile of this process to the file")
	return cmd
}

type readFigures struct {
	Records            int64   `json:"records"`
	RecordsPerSec      float64 `json:"records_per_sec"`
	MBPerSec           float64 `json:"mb_per_sec"`
	Batches            int64   `json:"batches"`
	BatchP50           int64   `json:"batch_p50"`
	BatchP99           int64   `json:"batch_p99"`
	P50                float64 `json:"p50_ms"`
	P99                float64 `json:"p99_ms"`
	CPUMicrosPerRecord float64 `json:"cpu_us_per_record"`
}

func runBenchRead(cmd *cobra.Command, _ []string) error {
	n, err := cmd.Flags().GetInt("partitions")
	if err != nil {
		return err
	}
	if err := checkPartitions(n, 0); err != nil {
		return err
	}
	headersOnly, err := cmd.Flags().GetBool("headers-only")
	if err != nil {
		return err
	}
	return onLog(cmd, func(c *waltz.Client) error {
		if n, err = benchPartitions(c, n); err != nil {
			return err
		}
		figures, err := benchRead(cmd, c, n, headersOnly)
		if err != nil {
			return err
		}
		return printObject(cmd, figures)
	})
}

// readBench is a running load: counters that all subscribers share, and what
// each keeps for itself.
type readBench struct {
	client         *waltz.Client
	headersOnly    bool
	records, bytes atomic.Int64
	latencies      *latencies
	batches        []*hdrhistogram.Histogram
}

const (
	readBatch    = 1 << 16 // transactions taken from a feed at once
	batchDigits  = 2
	readBufBytes = 8 << 20
)

func benchRead(cmd *cobra.Command, c *waltz.Client, partitions int, headersOnly bool) (figures readFigures, err error) {
	b := &readBench{client: c, headersOnly: headersOnly, latencies: newLatencies(partitions)}
	ends := make([]waltz.ID, partitions)
	for p := range ends {
		if ends[p], err = c.HighWaterMark(cmd.Context(), waltz.Partition(p)); err != nil {
			return figures, err
		}
		b.batches = append(b.batches, hdrhistogram.New(1, readBatch, batchDigits))
	}
	cpu := newCPUMeter(cmd.Flag("log").Value.String(), cmd.ErrOrStderr())
	stopProfile, err := profile(cmd.Flag("profile").Value.String())
	if err != nil {
		return figures, err
	}
	cpu.begin()
	start := time.Now()
	stop := progress(cmd.Context(), cmd.ErrOrStderr(), func() string { return fmt.Sprintf("%d records", b.records.Load()) })
	err = b.run(cmd.Context(), ends)
	took, used := time.Since(start).Seconds(), cpu.used()
	stop()
	b.fill(&figures, took, used)
	return figures, errors.Join(err, stopProfile())
}

func (b *readBench) run(ctx context.Context, ends []waltz.ID) error {
	g, ctx := errgroup.WithContext(ctx)
	for p, end := range ends {
		g.Go(func() error { return b.read(ctx, waltz.Partition(p), end) })
	}
	return g.Wait()
}

func (b *readBench) read(ctx context.Context, p waltz.Partition, end waltz.ID) (err error) {
	feed, err := b.client.Subscribe(ctx, waltz.SubscribeOptions{
		Partition: p, HighWaterMark: waltz.None, HeadersOnly: b.headersOnly, BufferBytes: readBufBytes,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, feed.Close()) }()
	for mark := waltz.None; mark < end; {
		start := time.Now()
		batch, err := feed.Next(ctx, readBatch)
		if err != nil {
			return err
		}
		b.latencies.record(int(p), time.Since(start))
		mark = batch.HighWaterMark
		b.count(p, batch)
	}
	return nil
}

func (b *readBench) count(p waltz.Partition, batch waltz.Batch) {
	var bytes int
	for i := range batch.Transactions {
		bytes += len(batch.Transactions[i].Data)
	}
	b.records.Add(int64(len(batch.Transactions)))
	b.bytes.Add(int64(bytes))
	_ = b.batches[p].RecordValue(int64(max(1, len(batch.Transactions)))) // within its range
}

func (b *readBench) fill(figures *readFigures, took float64, cpu time.Duration) {
	all := hdrhistogram.New(1, readBatch, batchDigits)
	for _, h := range b.batches {
		all.Merge(h)
	}
	q := b.latencies.ms(50, 99)
	figures.P50, figures.P99 = q[0], q[1]
	figures.Batches, figures.BatchP50, figures.BatchP99 = all.TotalCount(), all.ValueAtQuantile(50), all.ValueAtQuantile(99)
	figures.Records = b.records.Load()
	figures.RecordsPerSec = float64(figures.Records) / took
	figures.MBPerSec = float64(b.bytes.Load()) / took / 1e6
	figures.CPUMicrosPerRecord = float64(cpu.Microseconds()) / float64(max(figures.Records, 1))
}
