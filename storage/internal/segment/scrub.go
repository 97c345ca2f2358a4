package segment

import (
	"context"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// Pass is a scrub of a log, or of a part of it.
type Pass struct {
	From, Last txn.ID // the first segment is the one that holds From
	// Found is told of damage to records. Required.
	Found func(error)
	// Pace is asked before each read of so many bytes, and may take its time; its
	// error ends the pass. Nil: at full speed.
	Pace func(bytes int) error
	// Passed is told of each segment that was read in full: the next record, and how
	// many records and bytes were whole. Nil: nobody is.
	Passed func(next txn.ID, records, bytes int64)
}

// Scrub reads every record of a pass, and every index, and verifies them. A
// damaged index is reported and rebuilt as when a read finds it. The error is
// another than damage, say ctx's.
func (l *Log) Scrub(ctx context.Context, p Pass) (records, bytes int64, err error) {
	next := p.From
	for _, e := range l.Extents() {
		if e.First > p.Last {
			break
		}
		if e.Last < p.From {
			continue
		}
		if e.First > next {
			p.Found(l.missing(next))
		}
		next = e.Last + 1
		n, size, err := l.scrubOne(ctx, e, min(p.Last, e.Last), p)
		records, bytes = records+n, bytes+size
		if err != nil {
			return records, bytes, err
		}
		if p.Passed != nil {
			p.Passed(min(p.Last, e.Last)+1, n, size)
		}
	}
	if next <= p.Last {
		p.Found(&damage.Error{Partition: l.c.Partition, First: next, Last: p.Last, File: l.c.Dir, Reason: "no segment holds it"})
	}
	return records, bytes, nil
}

// scrubBuffer is how much a scrub reads at once.
const scrubBuffer = 256 << 10

func (l *Log) scrubOne(ctx context.Context, e Extent, last txn.ID, p Pass) (records, bytes int64, err error) {
	found := p.Found
	r, err := l.reader(e, entry{id: e.First, offset: header.Size}, e.Last+1)
	if err != nil {
		return 0, 0, tell(err, found)
	}
	r.own, r.pace = make([]byte, 0, scrubBuffer), p.Pace
	defer l.c.Files.release(r.f)
	if err := l.checkHeader(r.f, segmentMagic, e.First); err != nil {
		found(l.unopened(e, err))
	}
	x := l.openScrub(e)
	defer x.close()
	var s sampler
	for r.id <= last {
		if err := ctx.Err(); err != nil {
			return records, bytes, context.Cause(ctx)
		}
		rec, n, err := r.record(scrubBuffer)
		if err != nil {
			x.skip = true
			if more, err := l.passDamage(r, found); err != nil || !more {
				return records, bytes, err
			}
			continue
		}
		if number := s.n; s.takes(r.off) {
			x.check(number, entry{id: r.id, offset: r.off, time: rec.Time})
		}
		records, bytes = records+1, bytes+int64(n)
		r.id, r.off = r.id+1, r.off+int64(n)
	}
	if last == e.Last {
		x.end(s.n)
	}
	return records, bytes, nil
}

// passDamage tells of the damage at the reader's place, and goes on behind it if
// the index knows where; more is false if it does not.
func (l *Log) passDamage(r *reader, found func(error)) (more bool, err error) {
	next, ok := l.behind(r)
	if ok {
		r.next = next.id
	}
	if _, _, err := r.record(scrubBuffer); err != nil {
		if err := tell(err, found); err != nil {
			return false, err
		}
	}
	if ok {
		r.id, r.off, r.next = next.id, next.offset, r.e.Last+1
	}
	return ok, nil
}

// behind returns the first index entry behind the reader's place.
func (l *Log) behind(r *reader) (entry, bool) {
	_, next, err := l.lookup(r.e, func(x entry) bool { return x.offset <= r.off })
	if err != nil || next <= r.id || next > r.e.Last {
		return entry{}, false
	}
	at, _, err := l.lookup(r.e, func(x entry) bool { return x.id <= next })
	return at, err == nil && at.id == next && at.offset > r.off
}

// tell passes damage on; other errors it returns.
func tell(err error, found func(error)) error {
	if damage.Is(err) {
		found(err)
		return nil
	}
	return err
}

// indexScrub compares an index with what its segment says it should be.
type indexScrub struct {
	l   *Log
	e   Extent
	f   *openFile
	x   index
	bad bool
	// skip: damage hides which entry is next.
	skip bool
}

func (l *Log) openScrub(e Extent) *indexScrub {
	s := &indexScrub{l: l, e: e}
	f, x, err := l.openIndex(e)
	if err != nil {
		s.fail(err)
		return s
	}
	s.f, s.x = f, x
	if err := l.checkHeader(f, indexMagic, e.First); err != nil {
		s.fail(err)
	}
	return s
}

func (s *indexScrub) fail(err error) {
	if !s.bad {
		s.bad = true
		s.l.suspectIndex(s.e.First, err)
	}
}

func (s *indexScrub) check(number int, want entry) {
	if s.bad || s.skip {
		return
	}
	got, err := s.x.entry(number)
	if err == nil && got != want {
		err = errors.Join(errIndex, fmt.Errorf("entry %d is %v, the segment says %v", number, got, want))
	}
	if err != nil {
		s.fail(err)
	}
}

// end compares the number of entries.
func (s *indexScrub) end(n int) {
	if !s.bad && !s.skip && s.x.n != n {
		s.fail(fmt.Errorf("%w: %d entries, the segment has %d", errIndex, s.x.n, n))
	}
}

func (s *indexScrub) close() {
	if s.f != nil {
		s.l.c.Files.release(s.f)
	}
}
