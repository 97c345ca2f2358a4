package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// Cut makes the log end at end: drops everything above it, and goes on there.
// It is called first after Open, with the end that the journal knows to be
// synced, and for every truncation. If the segments end below it, or what stands
// there can't be read, that is a *damage.Error: it is kept as it is, and the log
// goes on behind end in a new segment. Any other error changed nothing that
// another Cut would not mend.
func (l *Log) Cut(end txn.ID) error {
	if l.w.end == end && l.w.active != nil {
		return nil
	}
	l.w.positioned = true
	if err := l.detach(); err != nil {
		return err
	}
	for all := l.Extents(); len(all) > 0 && all[len(all)-1].First > end; all = l.Extents() {
		if err := l.removeLast(all); err != nil {
			return err
		}
	}
	if err := l.removeBegun(end); err != nil {
		return err
	}
	l.w.end, l.w.last = end, end
	if end == txn.None {
		return nil
	}
	return l.cutLast(end)
}

// detach lets go of the active segment.
func (l *Log) detach() error {
	w := &l.w
	w.buf, w.index = w.buf[:0], w.index[:0]
	if w.active == nil {
		return nil
	}
	err := l.syncOne(w.active)
	err = errors.Join(err, w.active.close())
	w.active = nil
	return err
}

// removeLast removes the last segment: from the readers' view, then from disk.
func (l *Log) removeLast(all []Extent) error {
	rest, first := slices.Clone(all[:len(all)-1]), all[len(all)-1].First
	l.extents.Store(&rest)
	l.w.dirDirty = true
	for i, a := range l.w.unsynced {
		if a.first == first {
			l.w.unsynced = slices.Delete(l.w.unsynced, i, i+1)
			if err := a.close(); err != nil {
				return err
			}
			break
		}
	}
	return l.removeFiles(first)
}

// removeBegun removes segments above end that were begun and that a full disk
// kept from getting a record: no extent tells of them. The log may grow past
// their names in an earlier segment, and the next Open would take them for its
// end.
func (l *Log) removeBegun(end txn.ID) error {
	names, err := l.c.FS.List(l.c.Dir)
	if err != nil {
		return fmt.Errorf("list segments in %s: %w", l.c.Dir, err)
	}
	for _, name := range names {
		first, ok := parseName(name)
		if !ok || first <= end {
			continue
		}
		l.w.dirDirty = true
		if err := l.removeFiles(first); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) removeFiles(first txn.ID) error {
	for _, name := range []string{indexName(first), segmentName(first)} {
		err := l.c.FS.Remove(l.path(name))
		l.c.Files.drop(l.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", l.path(name), err)
		}
	}
	return nil
}

// cutLast cuts the last segment behind end, and makes it the active one.
func (l *Log) cutLast(end txn.ID) error {
	all := l.Extents()
	if len(all) == 0 {
		return &damage.Error{Partition: l.c.Partition, First: 0, Last: end, File: l.c.Dir, Reason: "its segments are missing"}
	}
	e := all[len(all)-1]
	e.Last, e.Size, e.entries = end, 0, -1
	found, err := l.locate(e, end)
	if err != nil {
		l.publish(Extent{First: e.First, Last: end, entries: -1}) // reads find the same damage
		return err
	}
	a := &active{first: e.First, size: found.size, entries: found.sampler.n, sampler: found.sampler, dirty: true}
	if a.f, err = l.c.FS.Open(l.path(segmentName(e.First))); err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	if a.x, err = l.openIndexToWrite(e, found); err != nil {
		return errors.Join(err, a.f.Close())
	}
	if err := errors.Join(shorten(a.f, a.size), shorten(a.x, header.Size+int64(a.entries)*entrySize)); err != nil {
		return errors.Join(fmt.Errorf("cut segment %s: %w", l.path(segmentName(e.First)), err), a.close())
	}
	l.w.active, l.w.sampler = a, a.sampler
	l.publish(Extent{First: e.First, Last: end, Size: a.size, entries: a.entries})
	return nil
}

// shorten cuts a file, if it is longer.
func shorten(f vfs.File, size int64) error {
	now, err := f.Size()
	if err != nil || now <= size {
		return err
	}
	return f.Truncate(size)
}

// located is where a segment's records end, and what its index should be.
type located struct {
	size    int64
	sampler sampler
	whole   bool   // the index on disk is that
	index   []byte // its entries, if it is not
}

// locate finds the end of a record in a segment: by the index as far as it is
// whole, from there by reading.
func (l *Log) locate(e Extent, end txn.ID) (located, error) {
	known, odd := l.entries(e, end)
	at := entry{id: e.First, offset: header.Size}
	if n := len(known); n > 0 {
		at = known[n-1]
	}
	r, err := l.reader(e, at, end+1)
	if err != nil {
		return located{}, err
	}
	defer l.c.Files.release(r.f)
	found := located{sampler: sampler{n: len(known)}, whole: true}
	if len(known) > 0 {
		found.sampler.next = at.offset + indexGap
	}
	for ; r.id <= end; r.id++ {
		rec, n, err := r.record(bufferMax)
		if damage.Is(err) && len(known) > 0 && r.off == at.offset {
			return l.locateWithout(e, end) // the index may have lied
		}
		if err != nil {
			return located{}, err
		}
		if found.sampler.takes(r.off) {
			known, found.whole = append(known, entry{id: r.id, offset: r.off, time: rec.Time}), false
		}
		r.off += int64(n)
	}
	found.size = r.off
	if found.whole = found.whole && odd == nil; !found.whole {
		if odd == nil {
			odd = errIndex
		}
		l.c.Odd(l.path(indexName(e.First)), odd.Error())
		for i, x := range known {
			found.index = appendEntry(found.index, x, i)
		}
	}
	return found, nil
}

// locateWithout is locate by reading the whole segment.
func (l *Log) locateWithout(e Extent, end txn.ID) (located, error) {
	name := l.path(indexName(e.First))
	l.c.Files.drop(name)
	if err := l.c.FS.Remove(name); err != nil {
		return located{}, fmt.Errorf("remove %s: %w", name, err)
	}
	return l.locate(e, end)
}

// entries returns the entries of a segment's index up to end, as far as they are
// whole, and what is wrong with the index as a whole.
func (l *Log) entries(e Extent, end txn.ID) ([]entry, error) {
	e.entries = -1
	f, err := l.c.FS.Open(l.path(indexName(e.First)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := l.checkHeader(f, indexMagic, e.First); err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil || size < header.Size {
		return nil, errors.Join(errIndex, err)
	}
	b := make([]byte, size-header.Size)
	if n, err := f.ReadAt(b, header.Size); n < len(b) {
		return nil, err
	}
	var all []entry
	for i := 0; len(b) >= entrySize; i, b = i+1, b[entrySize:] {
		x, err := decodeEntry(b, i)
		if err != nil || x.id > end {
			break
		}
		if x.id < e.First || x.offset < header.Size {
			return nil, errIndex
		}
		all = append(all, x)
	}
	return all, nil
}

// openIndexToWrite opens a segment's index, or writes it anew. A crash in
// between leaves a damaged index, which is found and written anew.
func (l *Log) openIndexToWrite(e Extent, found located) (vfs.File, error) {
	if found.whole {
		return l.c.FS.Open(l.path(indexName(e.First)))
	}
	l.w.dirDirty = true
	f, err := l.create(indexName(e.First), indexMagic, e.First)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(found.index, header.Size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Rebuild writes anew the index that a reader found damaged, if one did.
func (l *Log) Rebuild() error {
	name := l.suspect.Load()
	if name == nil {
		return nil
	}
	all := l.Extents()
	i := slices.IndexFunc(all, func(e Extent) bool { return indexName(e.First) == *name })
	if i < 0 {
		l.suspect.Store(nil) // it was cut off
		return nil
	}
	if a := l.w.active; a != nil && a.first == all[i].First {
		return l.rebuildActive(*name)
	}
	if err := l.rebuildSealed(all[i]); err != nil {
		return err
	}
	l.suspect.CompareAndSwap(name, nil)
	return nil
}

// rebuildActive lets go of the active segment and finds its end anew.
func (l *Log) rebuildActive(name string) error {
	end := l.w.end
	if err := l.detach(); err != nil {
		return err
	}
	l.c.Files.drop(l.path(name))
	if err := l.c.FS.Remove(l.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.cutLast(end); err != nil && !damage.Is(err) { // as Cut leaves it; reads find the damage
		return err
	}
	l.suspect.Store(nil)
	return nil
}

// rebuildSealed reads a segment and replaces its index. Records that can't be
// read end it; what is behind them is then found by reading.
func (l *Log) rebuildSealed(e Extent) error {
	r, err := l.reader(e, entry{id: e.First, offset: header.Size}, e.Last+1)
	if err != nil {
		return err
	}
	defer l.c.Files.release(r.f)
	var entries []byte
	var s sampler
	for ; r.id <= e.Last; r.id++ {
		var rec record.Record
		var n int
		if rec, n, err = r.record(bufferMax); err != nil {
			break
		}
		if number := s.n; s.takes(r.off) {
			entries = appendEntry(entries, entry{id: r.id, offset: r.off, time: rec.Time}, number)
		}
		r.off += int64(n)
	}
	if err != nil && !damage.Is(err) {
		return err
	}
	return l.replaceIndex(e.First, entries)
}

func (l *Log) replaceIndex(first txn.ID, entries []byte) error {
	temp, name := l.path(indexName(first)+".tmp"), indexName(first)
	f, err := l.create(name+".tmp", indexMagic, first)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(entries, header.Size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("rebuild index %s: %w", temp, err)
	}
	l.c.Files.drop(l.path(name))
	if err := l.c.FS.Rename(temp, l.path(name)); err != nil {
		return fmt.Errorf("rebuild index %s: %w", l.path(name), err)
	}
	l.c.Files.drop(l.path(name))
	l.w.dirDirty = true
	return nil
}
