package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// appendFigures is what waltz bench append prints.
type appendFigures struct {
	Transactions     int64   `json:"transactions"`
	TxPerSec         float64 `json:"tx_per_sec"`
	Conflicts        int64   `json:"conflicts"`
	P50              float64 `json:"p50_ms"`
	P99              float64 `json:"p99_ms"`
	FdatasyncP50     float64 `json:"fdatasync_p50_ms"`
	FdatasyncsPerSec float64 `json:"fdatasyncs_per_sec"`
	CPU              float64 `json:"cpu_us_per_tx"`
}

// readFigures is what waltz bench read prints.
type readFigures struct {
	Records       int64   `json:"records"`
	RecordsPerSec float64 `json:"records_per_sec"`
	MBPerSec      float64 `json:"mb_per_sec"`
	CPU           float64 `json:"cpu_us_per_record"`
}

// printer prints cases as they are measured, or as one table at the end.
type printer struct {
	out            io.Writer
	bench          bool
	appends, reads []string
}

func (p *printer) append(inflight, partitions int, f appendFigures) {
	if p.bench {
		fmt.Fprintf(p.out, "BenchmarkAppend/inflight=%d/partitions=%d %d %.0f ns/op %.0f tx/s %.0f p50-ns %.0f p99-ns %.0f fdatasync/s %.3f cpu-us/tx\n",
			inflight, partitions, f.Transactions, 1e9/max(f.TxPerSec, 1), f.TxPerSec, f.P50*1e6, f.P99*1e6, f.FdatasyncsPerSec, f.CPU)
		return
	}
	p.appends = append(p.appends, fmt.Sprintf("%d\t%d\t%.0f\t%d\t%.3f\t%.3f\t%.2f\t%.0f\t%.2f\t",
		inflight, partitions, f.TxPerSec, f.Conflicts, f.P50, f.P99, f.P50/max(f.FdatasyncP50, 1e-9), f.FdatasyncsPerSec, f.CPU))
}

func (p *printer) read(partitions int, f readFigures) {
	if p.bench {
		fmt.Fprintf(p.out, "BenchmarkRead/partitions=%d %d %.1f ns/op %.0f records/s %.1f MB/s %.3f cpu-us/record\n",
			partitions, f.Records, 1e9/max(f.RecordsPerSec, 1), f.RecordsPerSec, f.MBPerSec, f.CPU)
		return
	}
	p.reads = append(p.reads, fmt.Sprintf("%d\t%d\t%.0f\t%.1f\t%.2f\t", partitions, f.Records, f.RecordsPerSec, f.MBPerSec, f.CPU))
}

func (p *printer) flush() error {
	if p.bench {
		return nil
	}
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "append: in flight\tpartitions\ttx/s\tconflicts\tp50 ms\tp99 ms\tp50 / fdatasync\tfdatasyncs/s\tCPU us/tx\t")
	for _, row := range p.appends {
		fmt.Fprintln(w, row)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "read: partitions\trecords\trecords/s\tMB/s\tCPU us/record\t")
	for _, row := range p.reads {
		fmt.Fprintln(w, row)
	}
	return w.Flush()
}
