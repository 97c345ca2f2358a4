package vfs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// direct opens the file a second time, whatever its name is by now. With O_DSYNC a
// write is its own sync: one call, and one wait for the disk less.
func (f osFile) direct() File {
	past, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil { // the file system has no direct writes, or there is no /proc
		return f
	}
	return &directFile{osFile: f, past: past}
}

// directFile writes whole blocks past the page cache, and does everything else
// through it: the kernel keeps the two apart.
type directFile struct {
	osFile
	past    *os.File
	cached  atomic.Bool // something went through the cache, and was not synced
	refused atomic.Bool // the disk wants another alignment
}

// WriteAt implements File.
func (f *directFile) WriteAt(p []byte, off int64) (int, error) {
	if off%Block != 0 || !aligned(p) || f.refused.Load() {
		return f.writeCached(p, off)
	}
	n, err := f.past.WriteAt(p, off)
	if errors.Is(err, unix.EINVAL) {
		f.refused.Store(true)
		return f.writeCached(p, off)
	}
	return n, err
}

func (f *directFile) writeCached(p []byte, off int64) (int, error) {
	f.cached.Store(true)
	return f.osFile.WriteAt(p, off)
}

// Datasync implements File: of direct writes there is nothing left to do.
func (f *directFile) Datasync() error {
	if !f.cached.Swap(false) {
		return nil
	}
	return f.osFile.Datasync()
}

// Close implements File.
func (f *directFile) Close() error { return errors.Join(f.past.Close(), f.osFile.Close()) }
