package segment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// rewriteSuffix ends the name of a segment, or an index, that is written anew
// beside the one that it will replace.
const rewriteSuffix = ".repair"

// Mend says how a part of the log is written anew.
type Mend struct {
	// Right reports whether a record that is whole is also the one that belongs
	// there. It is asked for those on the disk.
	Right func(*record.Record) bool
	// Fetch returns the right records from first on, at least that one and at most
	// up to last.
	Fetch func(ctx context.Context, first, last txn.ID) (record.Frame, error)
}

// Rewrite is a part of the log, whole segments of it, written anew beside what
// stands there. Nothing reads it before Adopt.
type Rewrite struct {
	First, Last    txn.ID // what it covers
	Records, Bytes int64  // that were fetched

	old   Extent // what it replaces; of size -1: nothing is there
	parts []part
}

// part is one file of a Rewrite. There are several where segments are missing.
type part struct {
	first, last txn.ID
	size        int64
	entries     int
}

// Files returns how many segments it has.
func (w *Rewrite) Files() int { return len(w.parts) }

// ErrMoved: the log is not what it was when a Rewrite of it began.
var ErrMoved = errors.New("segments have changed meanwhile")

// Moved reports whether Adopt failed because the log was changed since Rewrite
// began, so that it may be tried again.
func Moved(err error) bool { return errors.Is(err, ErrMoved) }

// Rewrite reads the segment that holds a record, or should hold it, up to end,
// the end of the log, and writes it anew: what is whole and right as it is, the
// rest as fetched. It writes files of its own and changes nothing else; they are
// synced when it returns. The segment must not be one that is being written
// (Seal). The caller passes what it returns to Adopt or to Discard. With an error
// there is nothing to discard.
func (l *Log) Rewrite(ctx context.Context, id, end txn.ID, m Mend) (*Rewrite, error) {
	w := &rewriter{l: l, m: m, rw: l.piece(id, end)}
	err := w.run(ctx)
	if err == nil {
		return w.rw, nil
	}
	return nil, errors.Join(fmt.Errorf("write segment %s anew: %w", l.path(segmentName(w.rw.First)), err), w.abandon())
}

// piece returns what has to be written to mend a record: its segment, or the
// gap where there is none.
func (l *Log) piece(id, end txn.ID) *Rewrite {
	if e, ok := l.find(id); ok {
		return &Rewrite{First: e.First, Last: min(e.Last, end), old: e}
	}
	w := &Rewrite{First: 0, Last: end, old: Extent{Size: -1}}
	for _, e := range l.Extents() {
		if e.Last < id {
			w.First = e.Last + 1
		}
		if e.First > id {
			w.Last = min(w.Last, e.First-1)
			break
		}
	}
	return w
}

// rewriter writes a Rewrite.
type rewriter struct {
	l    *Log
	m    Mend
	rw   *Rewrite
	from *reader // what is there; nil: nothing that can be read
	max  int64   // size from which on the next file begins

	f, x    vfs.File // being written
	first   txn.ID   // its first record
	next    txn.ID   // the record to come
	size    int64    // written
	entries int      // written
	buf     []byte
	index   []byte
	sampler sampler
}

func (w *rewriter) run(ctx context.Context) error {
	w.max, w.next = w.l.c.Bytes, w.rw.First
	if err := w.openOld(); err != nil {
		return err
	}
	if w.from != nil {
		defer w.l.c.Files.release(w.from.f)
	}
	for w.next <= w.rw.Last {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := w.step(ctx); err != nil {
			return err
		}
	}
	return w.finish()
}

// openOld opens what is there, as far as it can be.
func (w *rewriter) openOld() error {
	if w.rw.old.Size < 0 {
		return nil
	}
	e := w.rw.old
	r, err := w.l.reader(e, entry{id: e.First, offset: header.Size}, w.rw.Last+1)
	if damage.Is(err) { // its header, or there is no such file: all of it is fetched
		return nil
	}
	if err != nil {
		return err
	}
	r.own = make([]byte, 0, bufferMax)
	w.from, w.max = r, max(w.max, r.size)
	return nil
}

// step takes one record that is there, or fetches what can't be read.
func (w *rewriter) step(ctx context.Context) error {
	if w.from != nil {
		rec, n, err := w.from.record(bufferMax)
		if err == nil && (w.m.Right(&rec) || mutant.On("repair-unverified")) {
			raw := w.from.buf[w.from.off-w.from.start:][:n]
			return w.add(&rec, raw)
		}
		if err != nil && !damage.Is(err) {
			return err
		}
	}
	return w.fetch(ctx)
}

// fetch takes records from elsewhere: those that the index says can't be read.
// They are as long as what stood there, so that reading goes on behind them.
func (w *rewriter) fetch(ctx context.Context) error {
	last := w.rw.Last
	if w.from != nil {
		if e, ok := w.l.behind(w.from); ok {
			last = min(last, e.id-1)
		}
	}
	f, err := w.m.Fetch(ctx, w.next, last)
	if err != nil {
		return err
	}
	for rec := range f.Trusted() {
		n := f.TrustedLen()
		w.rw.Records, w.rw.Bytes = w.rw.Records+1, w.rw.Bytes+int64(n)
		if err := w.add(&rec, f[:n]); err != nil {
			return err
		}
		f = f[n:]
	}
	return nil
}

// add writes one record.
func (w *rewriter) add(rec *record.Record, raw []byte) error {
	at := w.size + int64(len(w.buf))
	if w.f == nil || at+int64(len(raw)) > w.max && at > header.Size {
		if err := w.roll(); err != nil {
			return err
		}
		at = w.size
	}
	if number := w.sampler.n; w.sampler.takes(at) {
		w.index = appendEntry(w.index, entry{id: rec.ID, offset: at, time: rec.Time}, number)
	}
	w.buf = append(w.buf, raw...)
	w.next++
	if w.from != nil {
		w.from.id, w.from.off = w.from.id+1, w.from.off+int64(len(raw))
	}
	if len(w.buf) >= bufferMax {
		return w.flush()
	}
	return nil
}

func (w *rewriter) flush() error {
	if _, err := w.f.WriteAt(w.buf, w.size); err != nil {
		return err
	}
	if _, err := w.x.WriteAt(w.index, header.Size+int64(w.entries)*entrySize); err != nil {
		return err
	}
	w.size += int64(len(w.buf))
	w.entries += len(w.index) / entrySize
	w.buf, w.index = w.buf[:0], w.index[:0]
	return nil
}

// roll finishes a file and begins the next one.
func (w *rewriter) roll() error {
	if w.f != nil {
		if err := w.finish(); err != nil {
			return err
		}
	}
	w.first, w.size, w.entries, w.sampler = w.next, header.Size, 0, sampler{}
	if mutant.On("repair-in-place") {
		return w.openInPlace()
	}
	var err error
	if w.f, err = w.l.create(segmentName(w.first)+rewriteSuffix, segmentMagic, w.first); err != nil {
		return err
	}
	w.x, err = w.l.create(indexName(w.first)+rewriteSuffix, indexMagic, w.first)
	return err
}

// openInPlace is a planted bug: it writes over what is there.
func (w *rewriter) openInPlace() (err error) {
	if w.f, err = w.l.c.FS.Open(w.l.path(segmentName(w.first))); err != nil {
		return err
	}
	w.x, err = w.l.c.FS.Open(w.l.path(indexName(w.first)))
	return err
}

// finish makes a file durable, except for its name.
func (w *rewriter) finish() error {
	if err := w.flush(); err != nil {
		return err
	}
	for _, f := range []vfs.File{w.f, w.x} {
		if err := f.Sync(); err != nil {
			return &damage.SyncError{Err: err}
		}
	}
	w.rw.parts = append(w.rw.parts, part{first: w.first, last: w.next - 1, size: w.size, entries: w.entries})
	err := errors.Join(w.f.Close(), w.x.Close())
	w.f, w.x = nil, nil
	return err
}

// abandon closes and removes what was written.
func (w *rewriter) abandon() error {
	var err error
	for _, f := range []vfs.File{w.f, w.x} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	w.rw.parts = append(w.rw.parts, part{first: w.first}) // if anything was begun
	return errors.Join(err, w.l.Discard(w.rw))
}

// Discard removes what a Rewrite wrote.
func (l *Log) Discard(w *Rewrite) error {
	var all error
	for _, p := range w.parts {
		for _, name := range []string{segmentName(p.first), indexName(p.first)} {
			if err := l.c.FS.Remove(l.path(name + rewriteSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				all = errors.Join(all, err)
			}
		}
	}
	return all
}

// Adopt puts a Rewrite in the place of what stands there, durably. It is refused
// if that has changed since ([Moved]).
//
// Last file first, and each one by a rename, the index before its segment: a crash
// in between leaves for every record either the old file or the new one. Where
// one file becomes several, the old one is shortened by the names behind it
// before it is replaced.
func (l *Log) Adopt(w *Rewrite) error {
	if !l.still(w) {
		return fmt.Errorf("adopt segment %s: %w", l.path(segmentName(w.First)), ErrMoved)
	}
	for _, p := range slices.Backward(w.parts) {
		if mutant.On("repair-in-place") {
			break
		}
		for _, name := range []string{indexName(p.first), segmentName(p.first)} {
			l.w.dirDirty = true
			if err := l.c.FS.Rename(l.path(name+rewriteSuffix), l.path(name)); err != nil {
				return fmt.Errorf("replace %s: %w", l.path(name), err)
			}
			l.c.Files.drop(l.path(name))
		}
		l.place(Extent{First: p.first, Last: p.last, Size: p.size, entries: p.entries})
	}
	return l.Sync()
}

// still reports whether what a Rewrite replaces is as it was.
func (l *Log) still(w *Rewrite) bool {
	if a := l.w.active; a != nil && a.first >= w.First && a.first <= w.Last {
		return false
	}
	for _, e := range l.Extents() {
		if e.First <= w.Last && e.Last >= w.First {
			return w.old.Size >= 0 && e.First == w.old.First && e.Last == w.old.Last
		}
	}
	return w.old.Size < 0
}

// place shows a file that is new to readers: it takes the place of the one with
// its first record, or shortens the one that reached over it.
func (l *Log) place(e Extent) {
	all := slices.Clone(l.Extents())
	i := slices.IndexFunc(all, func(x Extent) bool { return x.Last >= e.First })
	switch {
	case i < 0:
		all = append(all, e)
	case all[i].First == e.First:
		all[i] = e
	case all[i].First > e.First:
		all = slices.Insert(all, i, e)
	default:
		all[i].Last = e.First - 1
		all = slices.Insert(all, i+1, e)
	}
	l.extents.Store(&all)
}

// Prefix returns the end of the longest start of the log, at most up to last, of
// which every record can be read and is right.
func (l *Log) Prefix(ctx context.Context, last txn.ID, right func(*record.Record) bool) (txn.ID, error) {
	end := txn.None
	for _, e := range l.Extents() {
		if e.First != end+1 || e.First > last {
			break
		}
		to, err := l.prefixOf(ctx, e, min(e.Last, last), right)
		if err != nil {
			return txn.None, err
		}
		if end = to; end < min(e.Last, last) {
			break
		}
	}
	return end, nil
}

func (l *Log) prefixOf(ctx context.Context, e Extent, last txn.ID, right func(*record.Record) bool) (txn.ID, error) {
	r, err := l.reader(e, entry{id: e.First, offset: header.Size}, e.Last+1)
	if err != nil {
		return e.First - 1, tell(err, func(error) {})
	}
	defer l.c.Files.release(r.f)
	r.own = make([]byte, 0, bufferMax)
	for r.id <= last {
		if err := ctx.Err(); err != nil {
			return txn.None, context.Cause(ctx)
		}
		rec, n, err := r.record(bufferMax)
		if err != nil || !right(&rec) {
			return r.id - 1, tell(err, func(error) {})
		}
		r.id, r.off = r.id+1, r.off+int64(n)
	}
	return last, nil
}
