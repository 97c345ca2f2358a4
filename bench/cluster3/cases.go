package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// figures is what waltz bench append prints.
type figures struct {
	TxPerSec         float64            `json:"tx_per_sec"`
	Conflicts        int64              `json:"conflicts"`
	P50              float64            `json:"p50_ms"`
	P99              float64            `json:"p99_ms"`
	P999             float64            `json:"p999_ms"`
	FdatasyncP50     float64            `json:"fdatasync_p50_ms"`
	FdatasyncsPerSec float64            `json:"fdatasyncs_per_sec"`
	CPU              map[string]float64 `json:"cpu_us_per_tx_of"`
}

// load is one case, with the bound it has to keep.
type load struct {
	inflight, locks int
	perSecond       float64 // at least; 0: no bound
	flushes         float64 // p50 at most so many fdatasyncs; 0: no bound
}

func loads() []load {
	return []load{
		{inflight: 64, locks: 1, perSecond: 50_000},
		{inflight: 256, locks: 1, perSecond: 100_000},
		{inflight: 1024, locks: 1, perSecond: 200_000},
		{inflight: 48, locks: 2, perSecond: 40_000},
		{inflight: 1, locks: 1, flushes: 6},
	}
}

// measure runs every case and prints the table.
func measure(ctx context.Context, o options, c *cluster, stdout io.Writer) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "in flight\tlocks\ttx/s\tbound\tp50 ms\tp99 ms\tfdatasync ms\tp50 / fdatasync\tbound\tfdatasyncs/s\tCPU us/tx: client\tserver\t")
	for _, p := range c.storages {
		fmt.Fprintf(w, "%s\t", p.name)
	}
	fmt.Fprintln(w, "all\tkept\t")
	for _, l := range loads() {
		var f figures
		if err := c.bench(ctx, o, &f, l.inflight, l.locks); err != nil {
			return err
		}
		fmt.Fprintln(w, l.row(c, &f))
	}
	return w.Flush()
}

func (l *load) row(c *cluster, f *figures) string {
	ratio := f.P50 / max(f.FdatasyncP50, 1e-9)
	var b strings.Builder
	fmt.Fprintf(&b, "%d\t%d\t%.0f\t%s\t%.3f\t%.3f\t%.3f\t%.2f\t%s\t%.0f\t%.2f\t%.2f\t",
		l.inflight, l.locks, f.TxPerSec, bound(">=", l.perSecond), f.P50, f.P99, f.FdatasyncP50, ratio, bound("<=", l.flushes), f.FdatasyncsPerSec, f.CPU["client"], f.CPU["server"])
	all := 0.0
	for _, cpu := range f.CPU {
		all += cpu
	}
	for _, p := range c.storages {
		fmt.Fprintf(&b, "%.2f\t", f.CPU[p.name])
	}
	kept := "yes"
	if l.perSecond > 0 && f.TxPerSec < l.perSecond || l.flushes > 0 && ratio > l.flushes {
		kept = "NO"
	}
	fmt.Fprintf(&b, "%.2f\t%s\t", all, kept)
	return b.String()
}

func bound(relation string, v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%s %.0f", relation, v)
}
