package applier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// errAgain ends a tenure that is to begin anew: the lease was lost, or the mark
// was set back.
var errAgain = errors.New("begin again")

// run is the owner of the partition: it takes tenure after tenure until ctx
// ends, or something stops the view.
func (p *partition[Tx, S]) run(ctx context.Context) error {
	for {
		err := p.tenure(ctx)
		switch {
		case ctx.Err() != nil && !p.stops(err):
			p.become(StateIdle, Fault{}, nil)
			return nil
		case errors.Is(err, errAgain):
			continue
		}
		return p.stop(ctx, err)
	}
}

// stops reports whether an error is a finding that must not be lost, even when
// the context has ended.
func (p *partition[Tx, S]) stops(err error) bool {
	_, transaction := errors.AsType[*TransactionError](err)
	_, tooMany := errors.AsType[*TooManyDeadError](err)
	_, gap := errors.AsType[*GapError](err)
	return transaction || tooMany || gap
}

// stop tells everyone, and leaves a note in the database, if it takes one.
func (p *partition[Tx, S]) stop(ctx context.Context, err error) error {
	f := fault(err, p.a.db.Fault)
	if t, is := errors.AsType[*TransactionError](err); is {
		f = t.Fault
	}
	p.become(StateStopped, f, err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.a.o.StopGrace)
	defer cancel()
	note := p.a.db.Note(ctx, p.ref, p.snapshotStatus().Epoch, StateStopped.String(), f.Code)
	if note != nil {
		p.a.logger.Warn("the database did not take a note of the stop", "partition", p.ref.Partition, "code", fault(note, p.a.db.Fault).Code)
	}
	return err
}

// tenure follows the log from the mark on.
func (p *partition[Tx, S]) tenure(ctx context.Context) error {
	p.become(StateStarting, Fault{}, nil)
	t := &tenure[Tx, S]{partition: p}
	if err := t.begin(ctx); err != nil {
		return err
	}
	return t.follow(ctx)
}

// tenure is the time in which this instance applies a partition. It belongs to
// the partition's goroutine.
type tenure[Tx, S any] struct {
	*partition[Tx, S]
	row    Row
	repeat int    // transactions in a row that could not be applied
	code   string // their code
	proven bool   // something was applied: Options.Meaning works, whatever another instance notes

	// What the tenure knows of the letters, and as of when. Every step compares this
	// epoch, so none is done with an old idea of them.
	quarantine *quarantine // nil: nothing yet
	epoch      int64
	looked     waltz.ID // mark
}

// begin reads the row, gets the lease if there is one, and verifies that view
// and log belong together, before anything is written.
func (t *tenure[Tx, S]) begin(ctx context.Context) error {
	if err := t.reload(ctx); err != nil {
		return err
	}
	mark, err := t.a.log.HighWaterMark(ctx, t.ref.Partition)
	if err != nil {
		return fmt.Errorf("view %s: %w", t.a.o.Name, err)
	}
	if t.row.HighWaterMark > mark {
		return &AheadError{View: t.a.o.Name, Partition: t.ref.Partition, ViewMark: t.row.HighWaterMark, LogMark: mark}
	}
	if t.a.o.HA == Lease {
		if err := t.standBy(ctx); err != nil {
			return err
		}
	}
	return t.look(ctx)
}

// reload reads the row anew, however long it takes.
func (t *tenure[Tx, S]) reload(ctx context.Context) error {
	row, err := t.read(ctx, t.insist)
	if err != nil {
		return err
	}
	t.row = row
	t.loaded(row)
	return nil
}

// standBy waits for the lease.
func (t *tenure[Tx, S]) standBy(ctx context.Context) error {
	for {
		mine, err := t.acquire(ctx)
		if err != nil || mine {
			return err
		}
		t.become(StateStandingBy, Fault{}, nil)
		if err := sleep(ctx, t.a.o.LeaseDuration/3); err != nil {
			return err
		}
	}
}

func (t *tenure[Tx, S]) acquire(ctx context.Context) (mine bool, err error) {
	err = t.insist(ctx, func() error {
		row, got, err := t.a.db.Acquire(ctx, t.ref, t.a.o.Instance, t.a.o.LeaseDuration)
		if err != nil {
			return err
		}
		t.row, mine = row, got
		t.loaded(row)
		return nil
	})
	return mine, err
}

// follow applies what the feed brings, batch by batch.
func (t *tenure[Tx, S]) follow(ctx context.Context) error {
	feedCtx, cancel := context.WithCancel(ctx)
	feed, err := t.a.log.Subscribe(feedCtx, t.subscription())
	if err != nil {
		cancel()
		return fmt.Errorf("view %s: %w", t.a.o.Name, err)
	}
	q := newQueue(t.a.o, newBatch(t.a.handlers, t.a.o.UnknownHeaders), t.row.HighWaterMark)
	t.attach(q)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		q.read(feedCtx, t.a.o.Name, feed)
	}()
	defer func() {
		cancel()
		<-ended
		_ = feed.Close() // nothing is read from it any more
		t.attach(nil)
	}()
	t.become(StateApplying, Fault{}, nil)
	return t.consume(ctx, q)
}

func (t *tenure[Tx, S]) attach(q *queue[Tx]) {
	t.update(func(*PartitionStatus) { t.queue = q })
}

// subscription wants the data of what has a handler. What has none is passed,
// if it need not be seen.
func (t *tenure[Tx, S]) subscription() waltz.SubscribeOptions {
	o := waltz.SubscribeOptions{Partition: t.ref.Partition, HighWaterMark: t.row.HighWaterMark, BufferBytes: min(t.a.o.BatchBytesMax, waltz.BufferBytesDefault)}
	if t.a.o.UnknownHeaders == StopUnknown {
		return o
	}
	o.Headers = []waltz.Header{}
	for h := range newBatch(t.a.handlers, SkipUnknown).byHeader {
		o.Headers = append(o.Headers, h)
	}
	return o
}

// consume takes batch after batch: each is what arrived while the last one was
// in the database.
func (t *tenure[Tx, S]) consume(ctx context.Context, q *queue[Tx]) error {
	spare := newBatch(t.a.handlers, t.a.o.UnknownHeaders)
	renew, letters := t.renewal(), time.NewTicker(t.a.o.LettersEvery)
	defer renew.Stop()
	defer letters.Stop()
	for ctx.Err() == nil {
		b, err := q.take(spare)
		switch {
		case err != nil:
			return fmt.Errorf("view %s: %w", t.a.o.Name, err)
		case b == nil:
			err = t.wait(ctx, q, renew, letters)
		default:
			err = t.all(ctx, b)
			b.reset()
			spare = b
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// renewal ticks while there is a lease to keep when nothing is applied.
func (t *tenure[Tx, S]) renewal() *time.Ticker {
	if t.a.o.HA == Lease {
		return time.NewTicker(t.a.o.LeaseDuration / 3)
	}
	never := time.NewTicker(time.Hour)
	never.Stop()
	return never
}

func (t *tenure[Tx, S]) wait(ctx context.Context, q *queue[Tx], renew, letters *time.Ticker) error {
	select {
	case <-q.news:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-letters.C:
		if t.row.Dead == 0 {
			return nil
		}
		return t.refresh(ctx)
	case <-renew.C:
		mark := t.row.HighWaterMark
		mine, err := t.acquire(ctx)
		if err == nil && (!mine || t.row.HighWaterMark != mark) {
			err = t.fenced()
		}
		return err
	}
}

// fenced begins anew after the lease was another's.
func (t *tenure[Tx, S]) fenced() error {
	t.a.logger.Warn("fenced: another instance took the partition", "partition", t.ref.Partition, "epoch", t.row.Epoch, "owner", t.row.Owner)
	return errAgain
}

// all applies what of a batch is above the mark. When another instance was
// faster, the rest of it is tried from its mark on.
func (t *tenure[Tx, S]) all(ctx context.Context, b *batch[Tx]) error {
	for b.mark > t.row.HighWaterMark {
		p := b.above(t.row.HighWaterMark)
		t.update(func(s *PartitionStatus) {
			s.Already += uint64(p.from)
			s.Oldest = b.oldest
		})
		err := t.apply(ctx, b, p, blameMax)
		if err == nil {
			t.update(func(s *PartitionStatus) { s.Oldest = time.Time{} })
			return nil
		}
		if !errors.Is(err, ErrLost) {
			return err
		}
		if err := t.lost(ctx); err != nil {
			return err
		}
	}
	t.update(func(s *PartitionStatus) { s.Already += uint64(len(b.items)); s.Oldest = time.Time{} })
	return nil
}

// lost finds out who was faster. Losing is normal.
func (t *tenure[Tx, S]) lost(ctx context.Context) error {
	if err := t.refresh(ctx); err != nil {
		return err
	}
	t.update(func(s *PartitionStatus) { s.Lost++ })
	if hook := t.a.o.Hooks.Lost; hook != nil {
		hook(t.ref.Partition, t.row.HighWaterMark)
	}
	t.become(StateApplying, Fault{}, nil)
	return nil
}

// refresh reads row and letters anew, and applies those that may be applied now.
func (t *tenure[Tx, S]) refresh(ctx context.Context) error {
	was := t.row.HighWaterMark
	if err := t.reload(ctx); err != nil {
		return err
	}
	switch {
	case t.a.o.HA == Lease && t.row.Owner != t.a.o.Instance:
		return t.fenced()
	case t.row.HighWaterMark < was:
		t.a.logger.Warn("mark was set back, beginning again", "partition", t.ref.Partition, "from", was, "to", t.row.HighWaterMark)
		return errAgain
	}
	return t.look(ctx)
}
