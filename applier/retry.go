package applier

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/waltz"
)

// Retried is what became of a retry.
type Retried struct {
	Asked   int // dead letters that there were in the range
	Applied int // of those
	Failed  int // those that can't be applied still, and are dead again
	Waiting int // those that have to wait for another that is dead
}

// Letters lists letters of a partition, ascending by ID.
func (a *Applier[Tx, S]) Letters(ctx context.Context, p waltz.Partition, q LetterQuery) ([]Letter, error) {
	part, err := a.partition(p)
	if err != nil {
		return nil, err
	}
	letters, err := a.db.List(ctx, part.ref, q)
	return letters, a.about(p, "list dead letters", err)
}

// Retry applies the dead letters from first to last, both included, in order, and
// what is held behind them, each in an SQL transaction that deletes the letter. It works
// whether or not Run runs, here or elsewhere, and returns when it is done. Trouble
// that passes is tried again until ctx ends; what was asked for is then done by
// whoever runs next.
func (a *Applier[Tx, S]) Retry(ctx context.Context, p waltz.Partition, first, last waltz.ID) (Retried, error) {
	part, err := a.partition(p)
	if err != nil {
		return Retried{}, err
	}
	asked, err := a.db.Ask(ctx, part.ref, first, last, a.o.Instance)
	if err != nil {
		return Retried{}, a.about(p, "ask for a retry", err)
	}
	row, err := part.read(ctx, part.patiently)
	if err != nil {
		return Retried{}, a.about(p, "read mark", err)
	}
	v, err := part.survey(ctx, row, part.patiently)
	if err != nil {
		return Retried{}, a.about(p, "retry", err)
	}
	part.loaded(v.row)
	r, err := part.outcome(ctx, first, last)
	r.Asked = asked
	r.Applied = max(0, asked-r.Failed-r.Waiting)
	return r, a.about(p, "list dead letters", err)
}

// outcome counts what is left of a retry.
func (p *partition[Tx, S]) outcome(ctx context.Context, first, last waltz.ID) (r Retried, err error) {
	for after := first - 1; ; {
		page, err := p.a.db.List(ctx, p.ref, LetterQuery{After: after, Limit: surveyPage})
		if err != nil {
			return r, err
		}
		for i := range page {
			after = page[i].ID
			switch {
			case after > last:
				return r, nil
			case page[i].State == LetterDead:
				r.Failed++
			case page[i].State == LetterRetry:
				r.Waiting++
			}
		}
		if len(page) < surveyPage {
			return r, nil
		}
	}
}

// Discard gives a letter up for good: it stays in the table with the reason, and the
// view no longer counts as incomplete because of it. What is held behind it is
// applied by whoever runs. It returns false if there is no such letter.
func (a *Applier[Tx, S]) Discard(ctx context.Context, p waltz.Partition, id waltz.ID, reason string) (bool, error) {
	part, err := a.partition(p)
	if err != nil {
		return false, err
	}
	found, err := a.db.Discard(ctx, part.ref, id, cut(reason, textMax), a.o.Instance)
	if err != nil {
		return false, a.about(p, "discard dead letter", err)
	}
	row, err := part.read(ctx, part.patiently)
	if err == nil {
		part.loaded(row)
	}
	return found, a.about(p, "read mark", err)
}

func (a *Applier[Tx, S]) about(p waltz.Partition, what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("view %s: %s of partition %d: %w", a.o.Name, what, p, err)
}
