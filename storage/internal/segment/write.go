package segment

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// bufferMax is how much Append collects before it writes.
const bufferMax = 1 << 20

// writer is the state of the one goroutine that writes.
type writer struct {
	positioned bool // Cut was called: end is known

	end     txn.ID // last record written
	active  *active
	buf     []byte  // records behind end, not yet written
	index   []byte  // their entries
	sampler sampler // behind them
	last    txn.ID  // last record in buf

	unsynced []*active // segments before the active one
	dirDirty bool      // files came or went, by this process or a killed one, since the folder was synced
}

// active is a segment that is being written, or was and is not yet synced.
type active struct {
	first   txn.ID
	f, x    vfs.File
	size    int64   // of the records written, with the header
	entries int     // written
	sampler sampler // behind what was written
	dirty   bool
}

// Append adds a trusted frame that continues the log; after a gap in the log,
// which only damage leaves, it may begin anywhere above End. It collects; what it
// has collected is written by Flush at the latest. After an error everything
// behind End was dropped and must be given again.
func (l *Log) Append(f record.Frame) error {
	err := l.add(f)
	if err != nil {
		l.forget()
	}
	return err
}

// forget drops what was collected.
func (l *Log) forget() {
	w := &l.w
	w.buf, w.index, w.last = w.buf[:0], w.index[:0], w.end
	if w.active != nil {
		w.sampler = w.active.sampler
	}
}

func (l *Log) add(f record.Frame) error {
	w := &l.w
	if len(f) == 0 {
		return nil
	}
	full := w.active != nil && w.active.size+int64(len(w.buf)+len(f)) > l.c.Bytes && w.active.size+int64(len(w.buf)) > header.Size
	if w.active == nil || full || f.TrustedID() != w.last+1 {
		if err := l.roll(f.TrustedID()); err != nil {
			return err
		}
	}
	off := w.active.size + int64(len(w.buf))
	for r := range f.Trusted() {
		if number := w.sampler.n; w.sampler.takes(off) {
			w.index = appendEntry(w.index, entry{id: r.ID, offset: off, time: r.Time}, number)
		}
		w.last = r.ID
		off += int64(record.Size(r.LockCount(), len(r.Key), len(r.Data)))
	}
	w.buf = append(w.buf, f...)
	if len(w.buf) >= bufferMax {
		return l.flush()
	}
	return nil
}

// Flush writes what was collected. Errors are as Append's.
func (l *Log) Flush() error {
	err := l.flush()
	if err != nil {
		l.forget()
	}
	return err
}

func (l *Log) flush() error {
	w, a := &l.w, l.w.active
	if len(w.buf) == 0 {
		return nil
	}
	if _, err := a.f.WriteAt(w.buf, a.size); err != nil {
		return fmt.Errorf("write segment %s: %w", l.path(segmentName(a.first)), err)
	}
	if _, err := a.x.WriteAt(w.index, header.Size+int64(a.entries)*entrySize); err != nil {
		return fmt.Errorf("write index %s: %w", l.path(indexName(a.first)), err)
	}
	a.size += int64(len(w.buf))
	a.entries += len(w.index) / entrySize
	a.dirty = true
	a.sampler = w.sampler
	w.end = w.last
	w.buf, w.index = w.buf[:0], w.index[:0]
	l.publish(Extent{First: a.first, Last: w.end, Size: a.size, entries: a.entries})
	return nil
}

// publish shows a segment's new end to readers.
func (l *Log) publish(e Extent) {
	old := l.Extents()
	all := make([]Extent, len(old), len(old)+1)
	copy(all, old)
	if n := len(all); n > 0 && all[n-1].First == e.First {
		all[n-1] = e
	} else {
		all = append(all, e)
	}
	l.extents.Store(&all)
}

// roll writes what was collected and begins a segment at first.
func (l *Log) roll(first txn.ID) error {
	if err := l.flush(); err != nil {
		return err
	}
	w := &l.w
	if w.active != nil {
		w.unsynced = append(w.unsynced, w.active)
		w.active = nil
	}
	a := &active{first: first, size: header.Size, dirty: true}
	w.dirDirty = true
	var err error
	if a.f, err = l.create(segmentName(first), segmentMagic, first); err != nil {
		return err
	}
	if a.x, err = l.create(indexName(first), indexMagic, first); err != nil {
		return errors.Join(err, a.f.Close())
	}
	w.active, w.sampler, w.last = a, sampler{}, first-1
	return nil
}

// create makes a file with its header. What has the name is the remains of an
// attempt that failed.
func (l *Log) create(name, magic string, first txn.ID) (vfs.File, error) {
	name = l.path(name)
	l.c.Files.drop(name)
	if err := l.c.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove %s: %w", name, err)
	}
	f, err := l.c.FS.Create(name)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	if _, err := f.WriteAt(l.header(magic, first).Encode(header.Size), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", name, err), f.Close())
	}
	return f, nil
}

// Sync makes everything up to End durable, files first and then the folder. A
// sync that fails is a *damage.SyncError.
func (l *Log) Sync() error {
	w := &l.w
	for len(w.unsynced) > 0 {
		a := w.unsynced[0]
		if err := l.syncOne(a); err != nil {
			return err
		}
		w.unsynced = w.unsynced[1:]
		if err := a.close(); err != nil {
			return err
		}
	}
	if w.active != nil {
		if err := l.syncOne(w.active); err != nil {
			return err
		}
	}
	if w.dirDirty {
		if err := l.c.FS.SyncDir(l.c.Dir); err != nil {
			return fmt.Errorf("sync folder %s: %w", l.c.Dir, &damage.SyncError{Err: err})
		}
		w.dirDirty = false
	}
	return nil
}

func (l *Log) syncOne(a *active) error {
	if !a.dirty {
		return nil
	}
	if err := a.f.Datasync(); err != nil {
		return fmt.Errorf("sync segment %s: %w", l.path(segmentName(a.first)), &damage.SyncError{Err: err})
	}
	if err := a.x.Datasync(); err != nil {
		return fmt.Errorf("sync index %s: %w", l.path(indexName(a.first)), &damage.SyncError{Err: err})
	}
	a.dirty = false
	return nil
}

func (a *active) close() error { return errors.Join(a.f.Close(), a.x.Close()) }

// Seal makes everything durable and lets go of the segment that is being written,
// if it may have the given record: what is appended goes into a new one.
func (l *Log) Seal(id txn.ID) error {
	if l.w.active == nil || l.w.active.first > id {
		return nil
	}
	if err := l.Flush(); err != nil {
		return err
	}
	if err := l.Sync(); err != nil {
		return err
	}
	return l.detach()
}

// Close closes the files that are being written. It does not sync.
func (l *Log) Close() error {
	var err error
	if l.w.active != nil {
		err = l.w.active.close()
	}
	for _, a := range l.w.unsynced {
		err = errors.Join(err, a.close())
	}
	l.w.active, l.w.unsynced = nil, nil
	return err
}
