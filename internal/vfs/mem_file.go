package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
)

// sector is what a disk writes whole or not at all.
const sector = 512

// memData is a file's bytes, as written and as last synced, and the sectors that
// the next sync makes durable. A sync that fails forgets them, as Linux does (it
// marks the pages clean; Rebello et al., "Can Applications Recover from fsync
// Failures?", ATC '20): they can be read until a crash, and only writing them
// again makes them durable.
type memData struct {
	now, synced []byte
	dirty       map[int64]struct{}
	path        string // present name
	removed     bool   // no longer counted in Mem.used
}

func (d *memData) markDirty(from, to int64) {
	if d.dirty == nil {
		d.dirty = map[int64]struct{}{}
	}
	for s := from / sector; s*sector < to; s++ {
		d.dirty[s] = struct{}{}
	}
}

func (d *memData) sync() {
	d.synced = grow(d.synced, int64(len(d.now)))
	for s := range d.dirty {
		if s*sector < int64(len(d.now)) {
			copy(d.synced[s*sector:], d.now[s*sector:min((s+1)*sector, int64(len(d.now)))])
		}
	}
	clear(d.dirty)
}

// resize gives b a length; what is added is zero.
func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size] // a later growth copies, and so finds zeros
	}
	grown := make([]byte, size, max(size, int64(len(b))*5/4))
	copy(grown, b)
	return grown
}

// grow is resize for a file that is appended to.
func grow(b []byte, size int64) []byte {
	if size >= int64(len(b)) && size <= int64(cap(b)) {
		tail := b[len(b):size]
		clear(tail)
		return b[:size]
	}
	return resize(b, size)
}

type memFile struct {
	m      *Mem
	d      *memData
	closed atomic.Bool
}

func (f *memFile) open(op string) error {
	if f.closed.Load() {
		return &fs.PathError{Op: op, Path: f.name(), Err: fs.ErrClosed}
	}
	return nil
}

// name returns the file's present name.
func (f *memFile) name() string {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.d.path
}

// ReadAt implements File.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.open("read"); err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.injectedLocked(OpRead, f.d.path); err != nil {
		return 0, err
	}
	if off >= int64(len(f.d.now)) {
		return 0, io.EOF
	}
	n := copy(p, f.d.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.open("write"); err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.injectedLocked(OpWrite, f.d.path); err != nil {
		return 0, err
	}
	if err := f.growLocked(max(off+int64(len(p)), int64(len(f.d.now)))); err != nil {
		return 0, err
	}
	copy(f.d.now[off:], p)
	f.d.markDirty(off, off+int64(len(p)))
	return len(p), nil
}

// growLocked sets a length that is not below the present one.
func (f *memFile) growLocked(size int64) error {
	old := int64(len(f.d.now))
	if size == old {
		return nil
	}
	if !f.d.removed {
		if f.m.space >= 0 && f.m.used+size-old > f.m.space {
			return &fs.PathError{Op: "write", Path: f.d.path, Err: fmt.Errorf("%d of %d bytes used: %w", f.m.used, f.m.space, syscall.ENOSPC)}
		}
		f.m.used += size - old
	}
	f.d.now = grow(f.d.now, size)
	f.d.markDirty(old, size)
	return nil
}

// Truncate implements File.
func (f *memFile) Truncate(size int64) error {
	if err := f.open("truncate"); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.injectedLocked(OpTruncate, f.d.path); err != nil {
		return err
	}
	old := int64(len(f.d.now))
	if size >= old {
		return f.growLocked(size)
	}
	if !f.d.removed {
		f.m.used -= old - size
	}
	f.d.now = resize(f.d.now, size)
	f.d.markDirty(size, old)
	return nil
}

// Sync implements File.
func (f *memFile) Sync() error { return f.sync(OpSync) }

// Datasync implements File.
func (f *memFile) Datasync() error { return f.sync(OpDatasync) }

func (f *memFile) sync(op Op) error {
	if err := f.open(string(op)); err != nil {
		return err
	}
	f.m.callHook(op, f.name())
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.injectedLocked(op, f.d.path); err != nil {
		clear(f.d.dirty)
		return err
	}
	f.d.sync()
	return nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.d.now)), nil
}

// Close implements File. Twice is an error, as it is with a real file.
func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return &fs.PathError{Op: "close", Path: f.name(), Err: fs.ErrClosed}
	}
	return nil
}
