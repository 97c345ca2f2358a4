package applybench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/cmd/waltz/internal/measure"
	"github.com/waltz-log/waltz/waltz"
)

// Way is how transactions become SQL.
type Way string

// The ways: statements for each record, pipelined where the driver can; or statements
// for sets of rows.
const (
	PerRecord Way = "per_record"
	PerBatch  Way = "per_batch"
)

// PartitionsMax is how many partitions can be applied at once.
const PartitionsMax = 64

// batchMax is how many transactions are applied in one SQL transaction, which is the
// applier's default.
const batchMax = 5000

// RecordShare is the part of the transactions that is applied record by record,
// which may take a hundred times as long.
const RecordShare = 5

// Options of a benchmark. Fields without a default have to be set.
type Options struct {
	Client       *waltz.Client // of the log, which transactions are appended to
	Database     string        // address: sqlite://, postgres:// or mysql://
	Partitions   int           // of the cases with several; 1 leaves them out
	Transactions int           // in each case; per record, a part of RecordShare
	Rounds       int           // of which the fastest counts
	Idle         int           // transactions appended one by one; 0: idle latency is not measured
	Logger       *slog.Logger  // default: none
	Progress     func(string)  // is told what is under way; default: nobody is
}

// Check returns what is wrong with the options, but for the log and the database.
func (o Options) Check() error {
	if o.Partitions < 1 || o.Partitions > PartitionsMax || o.Transactions < RecordShare*o.Partitions || o.Rounds < 1 || o.Idle < 0 {
		return fmt.Errorf("want 1 to %d partitions, at least %d transactions for each, and at least one round", PartitionsMax, RecordShare)
	}
	return nil
}

// Case is the figures of one way with so many partitions.
type Case struct {
	Way          Way
	Partitions   int
	Transactions int
	View, Hand   Speed
}

// Ratio tells how fast the applier is, by hand being 1.
func (c Case) Ratio() float64 { return c.View.PerSec / c.Hand.PerSec }

// Speed is of the best of several runs.
type Speed struct {
	PerSec float64 // transactions
	CPU    float64 // microseconds of this process for a transaction
}

// better takes the better ones of a run.
func (s *Speed) better(transactions int, r run) {
	n := float64(transactions)
	s.PerSec = max(s.PerSec, n/r.took.Seconds())
	if cpu := float64(r.cpu.Microseconds()) / n; s.CPU == 0 || cpu < s.CPU {
		s.CPU = cpu
	}
}

// run is how long something took, and what this process computed in that time.
type run struct{ took, cpu time.Duration }

// clock measures a run from its start to the call.
func clock() func() run {
	began, cpu := time.Now(), measure.OwnCPU()
	return func() run { return run{time.Since(began), measure.OwnCPU() - cpu} }
}

// Figures are what was measured.
type Figures struct {
	Database string // kind
	Cases    []Case
	Idle     *Idle // nil: not measured
}

// bench is a run of the benchmark.
type bench struct {
	Options
	*kind
	base []waltz.ID // of each partition
}

func kindOf(address string) (*kind, error) {
	switch {
	case sqlite.IsURL(address):
		return sqliteKind(), nil
	case postgres.IsURL(address):
		return postgresKind(), nil
	case mysql.IsURL(address):
		return mysqlKind(), nil
	}
	return nil, SchemeError(address)
}

// SchemeError refuses an address that is of no kind of database. It must not hold a
// password.
func SchemeError(address string) error {
	return fmt.Errorf("%q has an unknown scheme: want sqlite://, postgres:// or mysql://", address)
}

// Run fills the log and measures every case. It leaves nothing in the database.
func Run(ctx context.Context, o Options) (Figures, error) {
	k, err := kindOf(o.Database)
	if err != nil {
		return Figures{}, err
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	b := &bench{Options: o, kind: k}
	f := Figures{Database: k.name}
	if err := b.fill(ctx); err != nil {
		return f, fmt.Errorf("fill the log: %w", err)
	}
	for _, way := range []Way{PerRecord, PerBatch} {
		for _, partitions := range b.counts() {
			c, err := b.compare(ctx, way, partitions)
			if err != nil {
				return f, fmt.Errorf("%s, %d partitions: %w", way, partitions, err)
			}
			f.Cases = append(f.Cases, c)
		}
	}
	if o.Idle > 0 {
		if f.Idle, err = b.idle(ctx); err != nil {
			return f, fmt.Errorf("idle log: %w", err)
		}
	}
	return f, nil
}

// counts are the numbers of partitions to measure.
func (b *bench) counts() []int {
	if b.Partitions == 1 {
		return []int{1}
	}
	return []int{1, b.Partitions}
}

// fill appends what the cases need: partition 0 is applied alone, too.
func (b *bench) fill(ctx context.Context) (err error) {
	b.Progress(fmt.Sprintf("appending %d transactions", 2*b.Transactions))
	counts := make([]int, b.Partitions)
	for p := range counts {
		counts[p] = b.Transactions / b.Partitions
	}
	counts[0] = b.Transactions
	b.base, err = fill(ctx, b.Client, counts)
	return err
}

// compare runs one case, in turns with the work by hand.
func (b *bench) compare(ctx context.Context, way Way, partitions int) (Case, error) {
	n := b.Transactions / partitions
	if way == PerRecord {
		n /= RecordShare
	}
	s := stretch{b.Client, b.base[:partitions], n}
	c := Case{Way: way, Partitions: partitions, Transactions: n * partitions}
	want, err := s.sums(ctx)
	if err != nil {
		return c, err
	}
	for round := range b.Rounds {
		b.Progress(fmt.Sprintf("%s, partitions %d, round %d of %d", way, partitions, round+1, b.Rounds))
		for turn := range 2 {
			best, do, keys := &c.View, b.runView, viewKeys
			if (round+turn)%2 == 1 {
				best, do, keys = &c.Hand, b.runHand, handKeys
			}
			r, err := b.inPlace(ctx, keys, want, func(ctx context.Context, p *place) (run, error) { return do(ctx, p, s, way) })
			if err != nil {
				return c, err
			}
			best.better(c.Transactions, r)
		}
	}
	return c, nil
}

// inPlace does something in a new place, and checks what came of it. Profiles tell by
// the label "keys" who did it.
func (b *bench) inPlace(ctx context.Context, keys string, want sums, do func(context.Context, *place) (run, error)) (r run, err error) {
	p, err := b.newPlace(ctx, b.Database)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	pprof.Do(ctx, pprof.Labels("keys", keys), func(ctx context.Context) { r, err = do(ctx, p) })
	if err != nil {
		return r, err
	}
	return r, p.check(ctx, keys, want)
}

// runView applies a stretch with an applier.
func (b *bench) runView(ctx context.Context, p *place, s stretch, way Way) (r run, err error) {
	err = b.onView(ctx, p, s, way, func(ctx context.Context, v view, start func()) error {
		stop := clock()
		start()
		for partition := range s.base {
			if err := v.WaitFor(ctx, waltz.Partition(partition), waltz.ID(s.count)-1); err != nil {
				return err
			}
		}
		r = stop()
		return nil
	})
	return r, err
}

// onView opens a view, and ends it after do, which starts it.
func (b *bench) onView(ctx context.Context, p *place, s stretch, way Way, do func(ctx context.Context, v view, start func()) error) error {
	v, err := p.open(ctx, s, p.address, way, applier.Options{Name: "bench", BatchTransactionsMax: batchMax, Logger: b.Logger})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started, ended := false, make(chan error, 1)
	err = do(ctx, v, func() {
		started = true
		go func() {
			err := v.Run(ctx)
			cancel(err)
			ended <- err
		}()
	})
	cancel(nil)
	if started {
		if failed := <-ended; failed != nil {
			err = failed // err is that it was waited for in vain
		}
	}
	return errors.Join(err, v.Close())
}

// runHand applies a stretch with SQL by hand.
func (b *bench) runHand(ctx context.Context, p *place, s stretch, way Way) (r run, err error) {
	h, err := p.byHand(ctx, p.address, way, len(s.base))
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	stop := clock()
	g, ctx := errgroup.WithContext(ctx)
	for partition := range s.base {
		g.Go(func() error {
			return s.each(ctx, waltz.Partition(partition), batchMax, func(rs []record) error { return h.apply(ctx, waltz.Partition(partition), rs) })
		})
	}
	err = g.Wait()
	return stop(), err
}
