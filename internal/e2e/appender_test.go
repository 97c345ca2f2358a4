package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

const seat waltz.LockName = "seat"

// appender appends transactions with random locks, keys and marks as fast as
// it is answered, and records everything.
type appender struct {
	job
	client *waltz.Client
	rec    *recorder
	marks  []atomic.Int64 // by partition: highest ID heard of
	calls  atomic.Int64
}

func appendWorker(ctx context.Context, j job) error {
	client, err := j.dial(ctx)
	if err != nil {
		return err
	}
	rec, err := newRecorder(j.Record)
	if err != nil {
		return err
	}
	a := &appender{job: j, client: client, rec: rec, marks: make([]atomic.Int64, client.Partitions())}
	for p := range a.marks {
		a.marks[p].Store(int64(waltz.None))
	}
	var g errgroup.Group
	for n := range j.Goroutines {
		g.Go(func() error { return a.run(ctx, n) })
	}
	return errors.Join(g.Wait(), client.Close(), rec.file.Close())
}

func (a *appender) run(ctx context.Context, n int) error {
	r := rand.New(rand.NewPCG(a.Seed, uint64(n)))
	for i := 0; ctx.Err() == nil && (a.Calls == 0 || a.calls.Add(1) <= int64(a.Calls)); i++ {
		p := waltz.Partition(r.IntN(len(a.marks)))
		if r.IntN(20) == 0 {
			if err := a.look(ctx, p); err != nil {
				return err
			}
		}
		if err := a.append(ctx, r, p, fmt.Sprintf("%s/%d/%d", a.Name, n, i)); err != nil {
			return err
		}
	}
	return nil
}

// append makes one call. A fifth of them give up early, so that the answer is
// often unknown while the server is away; half of those ask again.
func (a *appender) append(ctx context.Context, r *rand.Rand, p waltz.Partition, name string) error {
	tx := a.transaction(r, p, name)
	op := history.Op{
		Client: a.Name, Name: name, Partition: p, Header: tx.Header, Data: tx.Data, Key: tx.Key,
		Locks: hashes(tx.Locks), Mark: tx.HighWaterMark,
	}
	if err := a.rec.begin(op); err != nil {
		return err
	}
	call, cancel := ctx, context.CancelFunc(func() {})
	if r.IntN(5) == 0 {
		call, cancel = context.WithTimeout(ctx, time.Duration(1+r.IntN(20))*time.Millisecond)
	}
	id, err := a.client.Append(call, p, tx)
	cancel()
	if unknown, is := errors.AsType[*waltz.UnknownError](err); is && r.IntN(2) == 0 {
		id, err = a.client.Resolve(ctx, unknown)
		if out, _ := outcome(id, err); out == history.Refused {
			return nil // trouble with asking, not an answer: still unknown
		}
	}
	a.heard(p, id, err)
	return a.rec.end(name, id, err)
}

func (a *appender) transaction(r *rand.Rand, p waltz.Partition, name string) waltz.Transaction {
	mark := waltz.ID(a.marks[p].Load())
	if r.IntN(4) == 0 {
		mark = max(waltz.None, mark-waltz.ID(r.IntN(40)))
	}
	tx := waltz.Transaction{
		Header: waltz.Header(r.IntN(4)), HighWaterMark: mark,
		Data: append([]byte(name+"\n"), make([]byte, r.IntN(200))...),
	}
	for range r.IntN(4) {
		id := seat.ID(uint64(r.IntN(60)))
		tx.Locks = append(tx.Locks, waltz.Lock{LockID: id, Mode: waltz.LockRead + waltz.LockMode(r.IntN(3))})
	}
	if r.IntN(8) == 0 {
		tx.Key = fmt.Sprint("key-", r.IntN(300))
	}
	return tx
}

// heard keeps the mark: what is committed, or caused a conflict, has happened.
func (a *appender) heard(p waltz.Partition, id waltz.ID, err error) {
	if conflict, is := errors.AsType[*waltz.LockConflictError](err); is {
		id = conflict.TransactionID
	} else if err != nil {
		return
	}
	for old := a.marks[p].Load(); int64(id) > old && !a.marks[p].CompareAndSwap(old, int64(id)); old = a.marks[p].Load() {
		continue
	}
}

// look asks for a high-water mark. While the server is away there is no answer,
// and nothing to record; appends go on trying.
func (a *appender) look(ctx context.Context, p waltz.Partition) error {
	asked := now()
	if mark, err := a.client.HighWaterMark(ctx, p); err == nil {
		a.heard(p, mark, nil)
		return a.rec.write(history.Line{Look: &history.Look{
			Client: a.Name, Partition: p, Invoked: asked, Returned: now(), Mark: mark,
		}})
	}
	return nil
}
