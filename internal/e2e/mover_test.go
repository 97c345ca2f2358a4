package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

var errOverdraft = errors.New("not enough money")

// mover makes movements of the bank through transaction contexts on a view that
// it applies itself, perhaps among others.
type mover struct {
	job
	partitions int
	runner     *txcontext.Runner[sqlite.Snapshot]
	attempts   atomic.Int64
	made       atomic.Int64
}

// moveWorker makes Calls movements and ends.
func moveWorker(ctx context.Context, j job) error {
	return withBank(ctx, j, func(ctx context.Context, m *mover) error {
		var g errgroup.Group
		for n := range j.Goroutines {
			g.Go(func() error { return m.run(ctx, n) })
		}
		return g.Wait()
	})
}

// keyWorker runs one movement with the key that the job names, and tells what came of it.
func keyWorker(ctx context.Context, j job) error {
	return withBank(ctx, j, func(ctx context.Context, m *mover) error {
		res, err := m.move(ctx, 0, movement{To: 1, Amount: 1}, j.Key)
		if err != nil {
			return err
		}
		fmt.Println("done", res.ID, res.AlreadyDone)
		return nil
	})
}

// withBank runs work while the view is applied, and ends both.
func withBank(ctx context.Context, j job, work func(context.Context, *mover) error) (err error) {
	client, err := j.dial(ctx)
	if err != nil {
		return err
	}
	rec, err := newRecorder(j.Record)
	if err != nil {
		return err
	}
	log := &recordedLog{Client: client, name: j.Name, rec: rec, open: make(map[waltz.RequestID]string)}
	view, err := openBank(ctx, client, j.View, applier.Options{})
	if err != nil {
		return err
	}
	m := &mover{job: j, partitions: client.Partitions()}
	if m.runner, err = txcontext.NewRunner(log, view, txcontext.Options{AttemptsMax: -1}); err != nil {
		return err
	}
	g, running := errgroup.WithContext(ctx)
	running, stop := context.WithCancel(running)
	defer stop()
	g.Go(func() error { return view.Run(running) })
	g.Go(func() error {
		defer stop()
		return work(running, m)
	})
	return errors.Join(g.Wait(), m.runner.Close(), view.Close(), client.Close(), rec.file.Close())
}

func (m *mover) run(ctx context.Context, n int) error {
	r := rand.New(rand.NewPCG(m.Seed, uint64(n)))
	for i := 0; m.made.Add(1) <= int64(m.Calls); i++ {
		p := waltz.Partition(r.IntN(m.partitions))
		v := movement{From: uint64(1 + r.IntN(m.Accounts)), To: uint64(1 + r.IntN(m.Accounts)), Amount: int64(1 + r.IntN(100))}
		if r.IntN(4) == 0 || v.From == v.To {
			v.From = outside
		}
		var opts []txcontext.Option
		if r.IntN(3) == 0 {
			opts = append(opts, txcontext.Fresh())
		}
		if r.IntN(3) == 0 {
			opts = append(opts, txcontext.WaitApplied())
		}
		if _, err := m.move(ctx, p, v, fmt.Sprintf("%s/%d/%d", m.Name, n, i), opts...); err != nil && !errors.Is(err, errOverdraft) {
			return err
		}
	}
	return nil
}

// move is one transaction context: a withdrawal reads the balance and takes the
// account for write, a deposit only appends to it.
func (m *mover) move(ctx context.Context, p waltz.Partition, v movement, key string, opts ...txcontext.Option) (txcontext.Result, error) {
	return m.runner.Run(ctx, txcontext.Context[sqlite.Snapshot]{
		Partition: p, Key: key,
		Execute: func(ctx context.Context, s sqlite.Snapshot, b *txcontext.Builder) error {
			if v.From != outside {
				if err := covered(ctx, s, p, v); err != nil {
					return err
				}
				b.Write(account.ID(v.From))
			}
			b.Append(account.ID(v.To))
			name := fmt.Sprintf("%s attempt %d", key, m.attempts.Add(1))
			return moved().Put(b, named[movement]{Name: m.Name + ": " + name, Value: v})
		},
	}, opts...)
}

// covered declines what the balance does not cover.
func covered(ctx context.Context, s sqlite.Snapshot, p waltz.Partition, v movement) error {
	var amount int64
	err := s.QueryRow(ctx, `SELECT amount FROM balance WHERE partition_no = ? AND account = ?`, p, v.From).Scan(&amount)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if amount < v.Amount {
		return txcontext.Decline(errOverdraft)
	}
	return nil
}
