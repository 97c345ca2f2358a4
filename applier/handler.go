package applier

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/waltz"
)

// Handler applies the transactions of one header. [On], [OnBatch] and [Unordered]
// make them. Several for one header are called in the order they are given in.
type Handler[Tx any] struct {
	header    waltz.Header
	kind      string
	batched   bool
	unordered bool
	bucket    func() bucket[Tx]
	keys      func(b bucket[Tx], record int) []string // nil: it is not Keyed
	wrong     error                                   // a mistake that Open tells of
}

// On applies transactions of a kind one by one. apply is called in the order of
// the log, and may be called again for the same transaction, but only after
// everything that it did was rolled back. So it must do nothing but use tx.
//
// An error of it, of tx, or a panic rolls the SQL transaction back; see [Policy].
func On[T, Tx any](kind waltz.Kind[T], apply func(ctx context.Context, tx Tx, r waltz.Record[T]) error) Handler[Tx] {
	return Handler[Tx]{
		header: kind.Header, kind: kind.Name,
		bucket: func() bucket[Tx] { return &singles[T, Tx]{records[T]{kind: kind}, apply} },
	}
}

// OnBatch applies runs of neighbours of a kind with one call, for set-based SQL: all
// transactions of the kind that follow each other in the log with none
// between them that another handler wants. apply must not keep the slice. Else it
// is as [On]; blame for an error is found by halving.
func OnBatch[T, Tx any](kind waltz.Kind[T], apply func(ctx context.Context, tx Tx, rs []waltz.Record[T]) error) Handler[Tx] {
	return Handler[Tx]{
		header: kind.Header, kind: kind.Name, batched: true,
		bucket: func() bucket[Tx] { return &runs[T, Tx]{records[T]{kind: kind}, apply} },
	}
}

// Unordered tells that the effects of an [OnBatch] handler do not depend on
// whether transactions of other kinds come before or after: then it is called only
// once in an SQL transaction, at its end, with all records of its kind in order.
func Unordered[Tx any](h Handler[Tx]) Handler[Tx] {
	h.unordered = h.batched
	return h
}

// Keyed tells which keys of the view a transaction changes, for [QuarantineKey]: the
// number of an account, say. Transactions without a key in common must not depend
// on each other's order; one without keys never waits for another, nor another for it.
// Kinds that change the same rows have to name the same keys. T is the type of the
// handler's kind. keys must depend on nothing but r. A release that names them in
// another way is to be started when no letters are open: what is held is found by
// the names that it was given.
func Keyed[T, Tx any](h Handler[Tx], keys func(r waltz.Record[T]) []string) Handler[Tx] {
	if h.bucket == nil {
		return h
	}
	if _, fits := h.bucket().(interface{ at(int) waltz.Record[T] }); !fits {
		h.wrong = fmt.Errorf("handler of header %d (%s): its keys are made of a %T, which is not what its kind decodes to", h.header, h.kind, *new(T))
		return h
	}
	h.keys = func(b bucket[Tx], record int) []string {
		return keys(b.(interface{ at(int) waltz.Record[T] }).at(record))
	}
	return h
}

// bucket holds the decoded records of one handler in one batch, without boxing them.
type bucket[Tx any] interface {
	add(c waltz.Committed) error
	len() int
	apply(ctx context.Context, tx Tx, from, to int) error
	reset()
}

type records[T any] struct {
	kind waltz.Kind[T]
	all  []waltz.Record[T]
}

func (r *records[T]) add(c waltz.Committed) error {
	d, err := r.kind.Decode(c)
	if err != nil {
		return err
	}
	r.all = append(r.all, d)
	return nil
}

func (r *records[T]) len() int { return len(r.all) }

func (r *records[T]) at(i int) waltz.Record[T] { return r.all[i] }

func (r *records[T]) reset() {
	clear(r.all) // they alias what arrived
	r.all = r.all[:0]
}

type singles[T, Tx any] struct {
	records[T]
	each func(context.Context, Tx, waltz.Record[T]) error
}

func (s *singles[T, Tx]) apply(ctx context.Context, tx Tx, from, to int) error {
	for i := from; i < to; i++ {
		if err := s.each(ctx, tx, s.all[i]); err != nil {
			return err
		}
	}
	return nil
}

type runs[T, Tx any] struct {
	records[T]
	run func(context.Context, Tx, []waltz.Record[T]) error
}

func (r *runs[T, Tx]) apply(ctx context.Context, tx Tx, from, to int) error {
	return r.run(ctx, tx, r.all[from:to:to])
}
