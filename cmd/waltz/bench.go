package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/waltz-log/waltz/cmd/waltz/internal/measure"
	"github.com/waltz-log/waltz/waltz"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure a log, and appliers",
		Example: "  waltz bench append --log waltz://127.0.0.1:7171 --inflight 256 --duration 10s",
	}
	asGroup(cmd)
	cmd.AddCommand(newBenchAppend(), newBenchRead(), newBenchApply())
	return cmd
}

// cpuMeter adds up the CPU time of this process and of the server, where the
// server is a process of this machine. One that ended meanwhile is left out.
type cpuMeter struct {
	server int // 0: none of its own, or none that can be looked into
	of     cpuMeters
}

// newCPUMeter finds the server behind an address; embedded ones are part of this
// process.
func newCPUMeter(addr string, stderr io.Writer) *cpuMeter {
	m := &cpuMeter{}
	servers, ok := strings.CutPrefix(strings.ToLower(addr), "waltz://")
	if !ok {
		return m
	}
	first, _, several := strings.Cut(servers, ",")
	pid, err := measure.Listener(first)
	if err != nil || several {
		fmt.Fprintln(stderr, "CPU figures are without the servers: only one server on this machine can be measured")
		return m
	}
	if pid != os.Getpid() {
		m.server = pid
	}
	return m
}

func (m *cpuMeter) begin() {
	m.of = metersOf(m.server)
	m.of.begin()
}

func (m *cpuMeter) used() (all time.Duration) {
	for _, cpu := range m.of.used() {
		all += cpu
	}
	return all
}

// cpuMeters measure several processes of this machine, each for itself.
type cpuMeters []processMeter

type processMeter struct {
	name  string
	pid   int // 0: this process
	start time.Duration
}

// newCPUMeters measures this process, the server's if there is one, and those that
// listen on the addresses of a list of name=host:port.
func newCPUMeters(server int, list []string) (cpuMeters, error) {
	all := metersOf(server)
	for _, entry := range list {
		name, addr, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, usagef("--cpu-of %q: want name=host:port", entry)
		}
		pid, err := measure.Listener(addr)
		if err != nil {
			return nil, fmt.Errorf("--cpu-of %s: %w", entry, err)
		}
		all = append(all, processMeter{name: name, pid: pid})
	}
	return all, nil
}

// metersOf measures this process, and the server's if there is one.
func metersOf(server int) cpuMeters {
	all := cpuMeters{{name: "client"}}
	if server != 0 {
		all = append(all, processMeter{name: "server", pid: server})
	}
	return all
}

func (m *processMeter) total() time.Duration {
	if m.pid == 0 {
		return measure.OwnCPU()
	}
	cpu, err := measure.ProcessCPU(m.pid)
	if err != nil {
		return m.start // it has ended
	}
	return cpu
}

func (all cpuMeters) begin() {
	for i := range all {
		all[i].start = all[i].total()
	}
}

func (all cpuMeters) used() map[string]time.Duration {
	used := map[string]time.Duration{}
	for i := range all {
		used[all[i].name] = all[i].total() - all[i].start
	}
	return used
}

// profile writes a CPU profile of this process to a file until stop is called;
// no file, no profile.
func profile(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

// progress prints one line again and again while a benchmark runs, if stderr is
// a terminal.
func progress(ctx context.Context, stderr io.Writer, line func() string) (stop func()) {
	f, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(stderr, "\r%s\x1b[K", line())
			case <-ctx.Done():
				fmt.Fprint(stderr, "\r\x1b[K")
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

const (
	latencyMax     = 10 * time.Minute
	latencyDigits  = 3
	latencyShards  = 64 // histograms that the workers share, so that memory does not grow with them
	histogramFloor = time.Microsecond
)

// latencies collects times from many workers.
type latencies struct {
	shards []latencyShard
}

type latencyShard struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
	_  [40]byte // keeps neighbours' locks on other cache lines
}

func newLatencies(workers int) *latencies {
	l := &latencies{shards: make([]latencyShard, max(1, min(workers, latencyShards)))}
	for i := range l.shards {
		l.shards[i].h = newHistogram()
	}
	return l
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(latencyMax/histogramFloor), latencyDigits)
}

func (l *latencies) record(worker int, d time.Duration) {
	s := &l.shards[worker%len(l.shards)]
	s.mu.Lock()
	// Beyond the range is recorded as the range's end.
	_ = s.h.RecordValue(min(max(int64(d/histogramFloor), 1), int64(latencyMax/histogramFloor)))
	s.mu.Unlock()
}

// ms returns a quantile, 0 to 100, in milliseconds.
func (l *latencies) ms(quantiles ...float64) []float64 {
	all := newHistogram()
	for i := range l.shards {
		l.shards[i].mu.Lock()
		all.Merge(l.shards[i].h)
		l.shards[i].mu.Unlock()
	}
	out := make([]float64, len(quantiles))
	for i, q := range quantiles {
		out[i] = millis(time.Duration(all.ValueAtQuantile(q)) * histogramFloor)
	}
	return out
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// benchPartitions checks --partitions against the log: 0 means all.
func benchPartitions(c *waltz.Client, n int) (int, error) {
	switch {
	case n == 0:
		return c.Partitions(), nil
	case n > c.Partitions():
		return 0, fmt.Errorf("--partitions %d: the log has %d", n, c.Partitions())
	}
	return n, nil
}
