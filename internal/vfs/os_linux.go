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

// direct opens the file a second time, whatever its name is by now.
func (f osFile) direct() File {
	past, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR|unix.O_DIRECT, 0)
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
	refused atomic.Bool // the disk wants another alignment
}

// WriteAt implements File.
func (f *directFile) WriteAt(p []byte, off int64) (int, error) {
	if off%Block != 0 || !aligned(p) || f.refused.Load() {
		return f.osFile.WriteAt(p, off)
	}
	n, err := f.past.WriteAt(p, off)
	if errors.Is(err, unix.EINVAL) {
		f.refused.Store(true)
		return f.osFile.WriteAt(p, off)
	}
	return n, err
}

// Close implements File.
func (f *directFile) Close() error { return errors.Join(f.past.Close(), f.osFile.Close()) }
