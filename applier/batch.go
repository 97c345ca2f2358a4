package applier

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sort"
	"time"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz"
)

// batch is decoded transactions of one partition in their order: those that
// have a handler, could not be decoded, or carry a key. Others only raise mark.
// It belongs to one goroutine at a time and is used again.
//
// Invariants: items, keys and calls ascend; item i's calls are
// calls[items[i].calls:items[i+1].calls]; everything up to mark was seen.
type batch[Tx any] struct {
	handlers []Handler[Tx]
	byHeader map[waltz.Header][]int32
	unknown  UnknownHeaders

	buckets []bucket[Tx] // by handler
	items   []item
	calls   []call
	keys    []Key
	mark    waltz.ID
	bytes   int
	oldest  time.Time // when the first was committed
	holding bool      // some calls are held
}

type item struct {
	c     waltz.Committed
	calls int32 // index of the first
	err   error // it could not be decoded
}

// call says which record of which handler.
type call struct {
	handler, record int32
	held            bool // it is not to be made: see hold
}

// itemOverhead is what a transaction counts for beside its data.
const itemOverhead = 256

func newBatch[Tx any](handlers []Handler[Tx], unknown UnknownHeaders) *batch[Tx] {
	b := &batch[Tx]{handlers: handlers, byHeader: make(map[waltz.Header][]int32), unknown: unknown, mark: waltz.None}
	for i, h := range handlers {
		b.byHeader[h.header] = append(b.byHeader[h.header], int32(i))
		b.buckets = append(b.buckets, h.bucket())
	}
	return b
}

func (b *batch[Tx]) reset() {
	for _, bucket := range b.buckets {
		bucket.reset()
	}
	clear(b.items)
	clear(b.keys)
	b.items, b.calls, b.keys, b.bytes, b.oldest, b.holding = b.items[:0], b.calls[:0], b.keys[:0], 0, time.Time{}, false
}

// add decodes one transaction. An error is kept with it: whether it stops
// the view is decided when it is to be applied.
func (b *batch[Tx]) add(c waltz.Committed) {
	if len(b.items) == 0 {
		b.oldest = c.Time
	}
	if c.Key != "" && !mutant.On("keys-not-stored") {
		b.keys = append(b.keys, Key{c.Key, c.ID})
		b.bytes += len(c.Key) + itemOverhead
	}
	it := item{c: c, calls: int32(len(b.calls))}
	handlers := b.byHeader[c.Header]
	switch {
	case len(handlers) > 0:
		it.err = b.decode(c, handlers)
	case b.unknown == StopUnknown:
		it.err = &itemError{CodeNoHandler, fmt.Errorf("header %d has no handler", c.Header)}
	default:
		return
	}
	b.items = append(b.items, it)
	b.bytes += len(c.Data) + itemOverhead
}

func (b *batch[Tx]) decode(c waltz.Committed, handlers []int32) error {
	if c.Skipped {
		return &itemError{CodeDecode, errors.New("the log left out the data")}
	}
	for _, h := range handlers {
		if err := b.decodeFor(h, c); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch[Tx]) decodeFor(h int32, c waltz.Committed) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{v, debug.Stack()}
		}
	}()
	n := b.buckets[h].len()
	if err := b.buckets[h].add(c); err != nil {
		return &itemError{CodeDecode, err}
	}
	b.calls = append(b.calls, call{handler: h, record: int32(n)})
	return nil
}

// part is a range of a batch's items, and the marks before and after it.
type part struct {
	from, to int
	old, new waltz.ID
}

// split cuts a part in front of item at.
func (b *batch[Tx]) split(p part, at int) (left, right part) {
	mark := b.items[at].c.ID - 1
	return part{p.from, at, p.old, mark}, part{at, p.to, mark, p.new}
}

// above is what of the batch lies above a mark.
func (b *batch[Tx]) above(mark waltz.ID) part {
	from := sort.Search(len(b.items), func(i int) bool { return b.items[i].c.ID > mark })
	return part{from, len(b.items), mark, b.mark}
}

func (b *batch[Tx]) keysOf(p part) []Key {
	after := func(id waltz.ID) int { return sort.Search(len(b.keys), func(i int) bool { return b.keys[i].ID > id }) }
	return b.keys[after(p.old):after(p.new)]
}

func (b *batch[Tx]) callsFrom(item int) int {
	if item == len(b.items) {
		return len(b.calls)
	}
	return int(b.items[item].calls)
}

// undecoded finds the first item of a part that can't be applied at all; p.to
// if there is none.
func (b *batch[Tx]) undecoded(p part) int {
	for i := p.from; i < p.to; i++ {
		if b.items[i].err != nil {
			return i
		}
	}
	return p.to
}

// unknown is where an error came that no single call brought up.
const unknown = -1

// run calls the handlers for a part. On an error it also says at which item, as
// far as it can be known.
func (b *batch[Tx]) run(ctx context.Context, tx Tx, p part) (at int, err error) {
	r := runner[Tx]{batch: b, ctx: ctx, tx: tx, end: b.callsFrom(p.to)}
	r.next = b.callsFrom(p.from)
	first := r.next
	defer func() {
		if v := recover(); v != nil {
			at, err = b.itemOf(r.next), &PanicError{v, debug.Stack()}
		}
	}()
	for r.next < r.end {
		if err := r.step(); err != nil {
			return b.itemOf(r.next), err
		}
	}
	r.next = first
	return unknown, r.unordered()
}

// itemOf finds the item of a call.
func (b *batch[Tx]) itemOf(call int) int {
	return sort.Search(len(b.items), func(i int) bool { return int(b.items[i].calls) > call }) - 1
}

// runner is one pass over the calls of a part.
type runner[Tx any] struct {
	*batch[Tx]
	ctx       context.Context
	tx        Tx
	next, end int
}

// step makes one call: for a record, or for a run of them.
func (r *runner[Tx]) step() error {
	c := r.calls[r.next]
	n := 1
	if c.held {
		r.next++
		return nil
	}
	h := &r.handlers[c.handler]
	if h.batched {
		for r.next+n < r.end && r.calls[r.next+n].handler == c.handler && !r.calls[r.next+n].held {
			n++
		}
	}
	if !h.unordered {
		if err := r.buckets[c.handler].apply(r.ctx, r.tx, int(c.record), int(c.record)+n); err != nil {
			return err
		}
	}
	r.next += n
	return nil
}

// unordered calls the handlers that want everything at once.
func (r *runner[Tx]) unordered() error {
	for h := range r.handlers {
		if !r.handlers[h].unordered {
			continue
		}
		if err := r.atOnce(int32(h)); err != nil {
			return err
		}
	}
	return nil
}

// atOnce calls one of them: with all its records, or where some are held, with
// each run between those.
func (r *runner[Tx]) atOnce(h int32) error {
	from, to := int32(0), int32(0)
	flush := func() error {
		if from == to {
			return nil
		}
		return r.buckets[h].apply(r.ctx, r.tx, int(from), int(to))
	}
	for _, c := range r.calls[r.next:r.end] {
		if c.handler != h || c.held {
			continue
		}
		if c.record != to {
			if err := flush(); err != nil {
				return err
			}
			from = c.record
		}
		to = c.record + 1
	}
	return flush()
}

// kindOf names the kind of a header in errors.
func (b *batch[Tx]) kindOf(h waltz.Header) string {
	if handlers := b.byHeader[h]; len(handlers) > 0 {
		return b.handlers[handlers[0]].kind
	}
	return ""
}
