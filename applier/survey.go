package applier

import (
	"context"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz"
)

// Bounds of a survey: letters that are listed at once, and that are applied in one
// SQL transaction.
const (
	surveyPage  = 500
	surveyBatch = 100
)

// survey is one pass over the open letters of a partition, in their order. A letter
// stays if it is dead, or changes a key that one before it does which stays; what
// changes the same later stays with it. Every other is applied. So a retry drains
// what queued up behind it in order, and so does a discard, and nothing else needs to
// be remembered about either.
//
// It belongs to one goroutine, and is true as long as the row's epoch is what it
// was: whoever removes a letter, or changes what is to become of it, raises that.
type survey[Tx, S any] struct {
	*partition[Tx, S]
	insist     insist
	row        Row         // as it was read before the letters
	quarantine *quarantine // of the letters that stay
	batch      *batch[Tx]  // decoded letters of free, one item for each
	free       []Letter
	keys       [][]string // of free
}

// insist does something until the database has no trouble that passes.
type insist func(ctx context.Context, do func() error) error

// survey applies what may be applied, and returns what stays. It begins anew
// whenever somebody else interferes. row is as it was just read.
func (p *partition[Tx, S]) survey(ctx context.Context, row Row, insist insist) (*survey[Tx, S], error) {
	for {
		v := p.newSurvey(row, newQuarantine(), insist)
		v.row.Dead, v.row.Held, v.row.FirstDead = 0, 0, waltz.None
		var err error
		if row.Dead > 0 {
			err = v.run(ctx, waltz.None)
		}
		if !errors.Is(err, ErrLost) {
			return v, err
		}
		if row, err = p.read(ctx, insist); err != nil {
			return nil, err
		}
	}
}

func (p *partition[Tx, S]) newSurvey(row Row, q *quarantine, insist insist) *survey[Tx, S] {
	return &survey[Tx, S]{partition: p, insist: insist, row: row, quarantine: q, batch: newBatch(p.a.handlers, StopUnknown)}
}

// read reads the row, however long it takes.
func (p *partition[Tx, S]) read(ctx context.Context, insist insist) (row Row, err error) {
	err = insist(ctx, func() error {
		if row, err = p.a.db.Read(ctx, p.ref); err != nil {
			return err
		}
		return p.a.sameLog(row)
	})
	return row, err
}

// run goes over the letters above an ID.
func (v *survey[Tx, S]) run(ctx context.Context, after waltz.ID) error {
	for {
		page, err := v.list(ctx, LetterQuery{After: after, Limit: surveyPage})
		if err != nil {
			return err
		}
		for i := range page {
			if err := v.take(ctx, page[i]); err != nil {
				return err
			}
		}
		if err := v.flush(ctx); err != nil || len(page) < surveyPage {
			return err
		}
		after = page[len(page)-1].ID
	}
}

func (v *survey[Tx, S]) list(ctx context.Context, q LetterQuery) (page []Letter, err error) {
	err = v.insist(ctx, func() error {
		page, err = v.a.db.List(ctx, v.ref, q)
		return err
	})
	return page, err
}

// take decides about one letter.
func (v *survey[Tx, S]) take(ctx context.Context, l Letter) error {
	keys, err := decodeKeys(l.ViewKeys)
	if err != nil {
		return fmt.Errorf("view %s: letter %d of partition %d: %w", v.a.o.Name, l.ID, v.ref.Partition, err)
	}
	if l.State == LetterDead || v.quarantine.blocks(keys) && !mutant.On("retry-out-of-order") {
		v.stays(&l, keys)
		return nil
	}
	full, err := v.list(ctx, LetterQuery{After: l.ID - 1, Limit: 1, Data: true})
	if err != nil {
		return err
	}
	if len(full) == 0 || full[0].ID != l.ID || full[0].State == LetterDead {
		return ErrLost
	}
	v.batch.add(full[0].Committed)
	v.free, v.keys = append(v.free, l), append(v.keys, keys)
	if len(v.free) == surveyBatch || v.batch.bytes >= v.a.o.BatchBytesMax {
		return v.flush(ctx)
	}
	return nil
}

func (v *survey[Tx, S]) stays(l *Letter, keys []string) {
	v.quarantine.add(keys)
	if l.State == LetterHeld {
		v.quarantine.held++
	}
	v.row.count(l)
}

// flush applies what is free: in one SQL transaction, or if that fails, one by one.
func (v *survey[Tx, S]) flush(ctx context.Context) error {
	defer func() {
		v.batch.reset()
		v.free, v.keys = v.free[:0], v.keys[:0]
	}()
	if n := len(v.free); n > 1 && v.batch.undecoded(part{to: n}) == n {
		if err := v.apply(ctx, 0, n); err == nil || !v.wrong(err) {
			return err
		}
	}
	failed := newQuarantine()
	for i := range v.free {
		if err := v.one(ctx, i, failed); err != nil {
			return err
		}
	}
	return nil
}

// one applies a letter, unless it has to wait for one of those before it that have
// failed by now. What else stays does not count: it was asked about when the letter
// was taken, and what came later has to wait for the letter.
func (v *survey[Tx, S]) one(ctx context.Context, i int, failed *quarantine) error {
	if failed.blocks(v.keys[i]) {
		failed.add(v.keys[i])
		v.stays(&v.free[i], v.keys[i])
		return nil
	}
	err := v.batch.items[i].err
	if err == nil {
		err = v.apply(ctx, i, i+1)
	}
	if err == nil || !v.wrong(err) {
		return err
	}
	failed.add(v.keys[i])
	return v.failed(ctx, i, err)
}

// wrong reports an error that belongs to a letter. A wrong configuration does, too:
// a retry must not stop a view that goes on without it.
func (v *survey[Tx, S]) wrong(err error) bool {
	if errors.Is(err, ErrLost) || errors.Is(err, errCutOff) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	return !fault(err, v.a.db.Fault).Class.Transient()
}

// apply does one SQL transaction that applies letters and deletes them.
func (v *survey[Tx, S]) apply(ctx context.Context, from, to int) error {
	s := &Step[Tx]{Ref: v.ref, Old: v.row.HighWaterMark, New: v.row.HighWaterMark, Epoch: v.row.Epoch, Owner: v.a.o.Instance, Transactions: to - from, Reached: v.reached()}
	for _, l := range v.free[from:to] {
		s.Retried = append(s.Retried, l.ID)
	}
	s.Work = func(ctx context.Context, tx Tx) error {
		_, err := v.batch.run(ctx, tx, part{from: from, to: to})
		return err
	}
	err := v.insist(ctx, func() error {
		ctx, release := graceful(ctx, v.a.o.StopGrace)
		defer release()
		err := v.step(ctx, s)
		if err != nil && fault(err, v.a.db.Fault).Class == ClassUnknown {
			return ErrLost // what is still there will tell
		}
		return err
	})
	if err != nil {
		return err
	}
	v.row.Epoch++
	v.retried(s.Retried)
	return nil
}

// retried tells that letters have been applied.
func (v *survey[Tx, S]) retried(ids []waltz.ID) {
	v.update(func(s *PartitionStatus) { s.Retried += uint64(len(ids)) })
	v.a.logger.Info("dead letters were applied after all", "partition", v.ref.Partition, "letters", len(ids), "first", ids[0], "last", ids[len(ids)-1])
	if hook := v.a.o.Hooks.Retried; hook != nil {
		hook(v.ref.Partition, ids)
	}
}

// failed notes that a letter can't be applied yet.
func (v *survey[Tx, S]) failed(ctx context.Context, i int, cause error) error {
	l := v.free[i]
	f := fault(cause, v.a.db.Fault).ofHandler()
	v.a.logger.Warn("a dead letter can't be applied yet", "partition", v.ref.Partition, "transaction_id", l.ID, "class", f.Class, "code", f.Code, "text", f.Text)
	now := v.a.letter(f, cause)
	now.ID = l.ID
	if err := v.insist(ctx, func() error { return v.a.db.Failed(ctx, v.ref, v.row.Epoch, now) }); err != nil {
		return err
	}
	l.State = LetterDead
	v.stays(&l, v.keys[i])
	return nil
}

// look makes the tenure's idea of the letters that of its row, which was just read.
// While the epoch is the same only what other instances passed can be new, and
// that is above the mark of the last look.
func (t *tenure[Tx, S]) look(ctx context.Context) error {
	if t.quarantine != nil && t.row.Epoch == t.epoch && t.row.HighWaterMark >= t.looked {
		return t.lookAbove(ctx)
	}
	v, err := t.survey(ctx, t.row, t.insist)
	if err != nil {
		return err
	}
	t.adopt(v.row, v.quarantine)
	return nil
}

// lookAnew forgets the tenure's idea of the letters before it looks.
func (t *tenure[Tx, S]) lookAnew(ctx context.Context) error {
	t.quarantine = nil
	return t.look(ctx)
}

func (t *tenure[Tx, S]) lookAbove(ctx context.Context) error {
	if t.row.Dead > 0 && t.row.HighWaterMark > t.looked {
		v := t.newSurvey(t.row, t.quarantine, t.insist)
		err := v.run(ctx, t.looked)
		if errors.Is(err, ErrLost) || v.row.Epoch != t.epoch {
			if err := t.reload(ctx); err != nil {
				return err
			}
			return t.lookAnew(ctx)
		}
		if err != nil {
			return err
		}
	}
	t.adopt(t.row, t.quarantine)
	return nil
}

func (t *tenure[Tx, S]) adopt(row Row, q *quarantine) {
	t.row, t.quarantine = row, q
	t.quarantine.held = row.Held
	t.epoch, t.looked = row.Epoch, row.HighWaterMark
	t.loaded(row)
}
