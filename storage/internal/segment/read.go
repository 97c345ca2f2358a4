package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// Read returns records from first on, at most to last, at least one and as many
// more as fit into bytesMax and into first's segment. Every one is verified. The
// caller owns the frame. Damage is a *damage.Error; what comes before it is
// returned without an error.
func (l *Log) Read(first, last txn.ID, bytesMax int) (record.Frame, error) {
	return l.ReadInto(first, last, bytesMax, nil)
}

// ReadInto is Read with a buffer, of which the frame is a part if it is large
// enough: ReadSlack more than bytesMax always is.
func (l *Log) ReadInto(first, last txn.ID, bytesMax int, buf []byte) (record.Frame, error) {
	e, ok := l.find(first)
	if !ok {
		return nil, l.missing(first)
	}
	at, next := l.seek(e, func(x entry) bool { return x.id <= first })
	r, err := l.reader(e, at, next)
	if err != nil {
		return nil, err
	}
	defer l.c.Files.release(r.f)
	r.own = buf[:0]
	return r.collect(first, min(last, e.Last), bytesMax)
}

// missing is the error for records that no segment covers.
func (l *Log) missing(id txn.ID) error {
	d := &damage.Error{Partition: l.c.Partition, First: id, Last: id, File: l.c.Dir, Reason: "no segment holds it"}
	for _, e := range l.Extents() {
		if e.First > id {
			d.Last = e.First - 1
			break
		}
	}
	return d
}

// unopened is the error for a segment that can't be opened: damage if it is
// missing or its header is wrong.
func (l *Log) unopened(e Extent, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, header.ErrDamaged) {
		return fmt.Errorf("open segment %s: %w", l.path(segmentName(e.First)), err)
	}
	return l.damaged(e, e.First, e.Last, 0, err.Error())
}

func (l *Log) damaged(e Extent, first, last txn.ID, off int64, why string) error {
	return &damage.Error{Partition: l.c.Partition, First: first, Last: max(first, last), File: l.path(segmentName(e.First)), Offset: off, Reason: why}
}

// seek returns where to begin reading a segment: the last index entry that
// before accepts, and the ID of the one behind it. With a damaged index it is
// the segment's start; the index is reported and will be rebuilt.
func (l *Log) seek(e Extent, before func(entry) bool) (at entry, next txn.ID) {
	at, next, err := l.lookup(e, before)
	if err != nil {
		l.suspectIndex(e.First, err)
	}
	return at, next
}

func (l *Log) lookup(e Extent, before func(entry) bool) (at entry, next txn.ID, err error) {
	at, next = entry{id: e.First, offset: header.Size}, e.Last+1
	f, x, err := l.openIndex(e)
	if err != nil {
		return at, next, err
	}
	defer l.c.Files.release(f)
	found, i, err := x.last(before)
	if err != nil || i < 0 {
		return at, next, err
	}
	if found.id < e.First || found.offset < header.Size {
		return at, next, errIndex
	}
	if i+1 < x.n {
		behind, err := x.entry(i + 1)
		if err != nil {
			return found, next, err
		}
		next = behind.id
	}
	return found, next, nil
}

// suspectIndex reports a damaged index, once until it is rebuilt.
func (l *Log) suspectIndex(first txn.ID, why error) {
	name := indexName(first)
	if old := l.suspect.Swap(&name); old == nil || *old != name {
		l.c.Odd(l.path(name), why.Error())
	}
}

// reader walks the records of one segment.
type reader struct {
	l    *Log
	e    Extent
	f    *openFile
	size int64  // where the records end
	id   txn.ID // of the record at off
	off  int64
	next txn.ID // the ID that the index has next: how far damage may reach

	buf   []byte // bytes of the file from start on
	start int64
	own   []byte                // used for buf, if it is large enough
	pace  func(bytes int) error // asked before each read; nil: nobody
}

// ReadSlack is how much more than was asked for a read may fetch: the records
// between an index entry and the first one wanted.
const ReadSlack = 2 * indexGap

// collectMax bounds what one Read asks for at once.
const collectMax = 64 << 20

// record returns the verified record at off. It aliases the reader's buffer.
func (r *reader) record(ahead int) (record.Record, int, error) {
	if err := r.fill(record.HeaderSize, ahead); err != nil {
		return record.Record{}, 0, err
	}
	n := int64(binary.LittleEndian.Uint32(r.buf[r.off-r.start:]))
	if n < record.HeaderSize || n > r.size-r.off {
		return record.Record{}, 0, r.damage(fmt.Sprintf("record of %d bytes with %d left", n, r.size-r.off))
	}
	if err := r.fill(int(n), ahead); err != nil {
		return record.Record{}, 0, err
	}
	rec, size, err := record.Decode(r.buf[r.off-r.start:])
	switch {
	case err != nil:
		return rec, 0, r.damage(err.Error())
	case rec.ID != r.id || rec.Partition != r.l.c.Partition:
		return rec, 0, r.damage(fmt.Sprintf("transaction %d of partition %d in the place of %d", rec.ID, rec.Partition, r.id))
	}
	return rec, size, nil
}

// fill makes n bytes from off on available; if it must read, it reads more.
func (r *reader) fill(n, ahead int) error {
	if r.size-r.off < int64(n) {
		return r.damage(fmt.Sprintf("the file ends %d bytes on", r.size-r.off))
	}
	if r.off >= r.start && r.off+int64(n) <= r.start+int64(len(r.buf)) {
		return nil
	}
	want := min(int64(max(n, ahead)), r.size-r.off)
	if r.pace != nil {
		if err := r.pace(int(want)); err != nil {
			return err
		}
	}
	if int64(cap(r.own)) >= want {
		r.buf = r.own[:want]
	} else {
		r.buf = make([]byte, want)
	}
	r.start = r.off
	if got, err := r.f.ReadAt(r.buf, r.off); err != nil && (!errors.Is(err, io.EOF) || int64(got) < want) {
		if errors.Is(err, io.EOF) {
			return r.damage("the file is shorter than it was")
		}
		return fmt.Errorf("read segment %s at %d: %w", r.l.path(segmentName(r.e.First)), r.off, err)
	}
	return nil
}

func (r *reader) damage(why string) error {
	return r.l.damaged(r.e, r.id, r.next-1, r.off, why)
}

// collect returns the records first..last as one piece of the buffer.
func (r *reader) collect(first, last txn.ID, bytesMax int) (record.Frame, error) {
	bytesMax = min(max(bytesMax, 0), collectMax)
	for r.id < first {
		_, n, err := r.record(bytesMax + ReadSlack)
		if err != nil {
			return nil, err
		}
		r.id, r.off = r.id+1, r.off+int64(n)
	}
	from := r.off
	_, n, err := r.record(bytesMax)
	if err != nil {
		return nil, err
	}
	to := from + int64(n)
	for r.id < last {
		r.id, r.off = r.id+1, to
		n = r.buffered()
		if n == 0 || to+int64(n)-from > int64(bytesMax) {
			break
		}
		if !r.whole() {
			break // the caller meets the damage when it goes on
		}
		to += int64(n)
	}
	return record.Frame(r.buf[from-r.start : to-r.start]), nil
}

// whole reports whether the buffered record at off is what was written.
func (r *reader) whole() bool {
	_, _, err := r.record(0)
	return err == nil
}

// buffered returns the length of the record at off if all of it is in the
// buffer, else 0.
func (r *reader) buffered() int {
	b := r.buf[r.off-r.start:]
	if len(b) < record.HeaderSize {
		return 0
	}
	if n := binary.LittleEndian.Uint32(b); uint64(n) <= uint64(len(b)) {
		return int(n)
	}
	return 0
}
