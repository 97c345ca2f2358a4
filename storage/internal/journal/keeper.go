package journal

import (
	"errors"
	"fmt"
	"path"
	"syscall"
	"time"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/damage"
)

// fillBytes is how much is zero-filled between two syncs, so that the journal's
// own syncs never wait behind a whole file.
const fillBytes = 1 << 20

// keeper prepares the next file and frees the old ones, beside the writer. It
// is the only one that creates, renames and removes journal files.
type keeper struct {
	w      *Writer
	oldest uint64 // file on disk
	next   uint64 // number of the next file to prepare
	fill   bool   // fill.tmp is a file of full size, not needed any more
	full   bool   // Full was told so
}

// run works until the writer is closed. Freeing is finished then, preparing is
// not begun.
func (k *keeper) run() {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		switch err := k.step(); {
		case err == nil:
			k.tellFull(nil)
		case IsFull(err):
			k.tellFull(err)
			retry.Reset(k.w.c.Retry)
		case k.w.ctx.Err() == nil:
			k.w.c.Failed(fmt.Errorf("keep journal %s: %w", k.w.c.Dir, err))
			return
		}
		select {
		case <-k.w.wake:
		case <-retry.C:
		case <-k.w.ctx.Done():
			if err := k.free(); err != nil {
				k.w.c.Logger.Warn("journal files not freed", "error", err)
			}
			return
		}
	}
}

func (k *keeper) tellFull(err error) {
	if k.full != (err != nil) {
		k.full = err != nil
		k.w.c.Full(err)
	}
}

func (k *keeper) step() error {
	if err := k.free(); err != nil {
		return err
	}
	return k.prepare()
}

// free gives up the files that are not needed any more, oldest first and each
// durably before the next, so that those on disk are always without a gap.
func (k *keeper) free() error {
	k.w.mu.Lock()
	to := k.w.mu.freeTo
	k.w.mu.Unlock()
	for ; k.oldest < to; k.oldest++ {
		if err := k.freeOne(k.oldest); err != nil {
			return err
		}
	}
	k.w.mu.Lock()
	k.w.mu.stats.Files = int(k.next - k.oldest)
	k.w.mu.Unlock()
	return nil
}

func (k *keeper) freeOne(number uint64) error {
	c := &k.w.c
	name := path.Join(c.Dir, FileName(number))
	info, err := c.FS.Stat(name)
	if err != nil {
		return nil //nolint:nilerr // it is gone: a damaged journal's missing file
	}
	k.w.mu.Lock()
	damaged := k.w.mu.damaged[number]
	k.w.mu.Unlock()
	switch {
	case damaged: // for the operator
		err = c.FS.Rename(name, name+damagedSuffix)
	case !k.fill && info.Size() == c.FileBytes:
		err = c.FS.Rename(name, path.Join(c.Dir, fillName))
		k.fill = err == nil
	default:
		err = c.FS.Remove(name)
	}
	if err != nil {
		return err
	}
	return k.syncDir()
}

func (k *keeper) syncDir() error {
	if err := k.w.c.FS.SyncDir(k.w.c.Dir); err != nil {
		return &damage.SyncError{Err: err}
	}
	return nil
}

// prepare makes the file after the current one, unless it is there already or
// too many wait for a checkpoint: then the writer waits, too.
func (k *keeper) prepare() error {
	ahead, many := k.next > k.w.nextNumber(), int(k.next-k.oldest) > k.w.c.FilesMax
	if ahead || many || k.w.closing() {
		return nil
	}
	f, err := k.make()
	if err != nil {
		return err
	}
	k.next++
	k.w.prepared <- f // has room: the writer took the one before
	return nil
}

// adopt returns the first file to write: the unused one that was found, or
// another. What was being filled is used if it has its full size; settle has made
// its name durable.
func (k *keeper) adopt() (vfs.File, error) {
	c := &k.w.c
	k.w.mu.number = k.next - 1
	defer func() { k.next++ }()
	info, err := c.FS.Stat(path.Join(c.Dir, fillName))
	k.fill = err == nil && info.Size() == c.FileBytes
	name := path.Join(c.Dir, FileName(k.next))
	if f, err := c.FS.Open(name); err == nil {
		size, err := f.Size()
		if err == nil && size == c.FileBytes && checkHeader(f, c.Cluster, k.next) == nil {
			f = vfs.Direct(f)
			return f, k.settleHeader(f)
		}
		if err := errors.Join(f.Close(), c.FS.Remove(name)); err != nil {
			return nil, err
		}
	}
	return k.make()
}

// settleHeader makes the header of a file that was found durable. A process whose
// sync of it failed may have left it in the page cache only (see settle).
func (k *keeper) settleHeader(f vfs.File) error {
	if _, err := f.WriteAt(fileHeader(k.w.c.Cluster, k.next), 0); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(&damage.SyncError{Err: err}, f.Close())
	}
	return nil
}

// make gives a filled file the next number. See the package comment for a crash
// in between.
func (k *keeper) make() (vfs.File, error) {
	f, err := k.filled(path.Join(k.w.c.Dir, fillName))
	if err != nil {
		return nil, err
	}
	if err := k.name(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// name writes the header of the next file and renames it.
func (k *keeper) name(f vfs.File) error {
	c := &k.w.c
	if _, err := f.WriteAt(fileHeader(c.Cluster, k.next), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return finalUnlessFull(err)
	}
	if err := c.FS.Rename(path.Join(c.Dir, fillName), path.Join(c.Dir, FileName(k.next))); err != nil {
		return err
	}
	k.fill = false
	return k.syncDir()
}

// filled opens fill.tmp with blocks that exist: a freed file, or a new one full
// of zeros.
func (k *keeper) filled(temp string) (vfs.File, error) {
	c := &k.w.c
	if k.fill {
		f, err := c.FS.Open(temp)
		if err != nil {
			return nil, err
		}
		k.countFile(func(s *Stats) { s.FilesRecycled++ })
		return vfs.Direct(f), nil
	}
	if err := removeIfThere(c.FS, temp); err != nil {
		return nil, err
	}
	f, err := c.FS.Create(temp)
	if err != nil {
		return nil, err
	}
	f = vfs.Direct(f)
	if err := k.zero(f); err != nil {
		return nil, errors.Join(err, f.Close(), removeIfThere(c.FS, temp)) // give the space back
	}
	k.fill = true
	k.countFile(func(s *Stats) { s.FilesZeroed++ })
	return f, nil
}

func (k *keeper) zero(f vfs.File) error {
	n := int(min(fillBytes, k.w.c.FileBytes))
	zeros := vfs.Aligned(n)[:n]
	for off := int64(0); off < k.w.c.FileBytes; off += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), k.w.c.FileBytes-off)], off); err != nil {
			return err
		}
		if err := f.Datasync(); err != nil {
			return finalUnlessFull(err)
		}
		if err := k.w.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// finalUnlessFull keeps a sync that failed for want of space apart from one that
// failed for good. It is for what can be tried again whole: a file that is thrown away
// (delayed allocation), and a write that is its own sync.
func finalUnlessFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return &damage.SyncError{Err: err}
}

func (k *keeper) countFile(count func(*Stats)) {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	count(&k.w.mu.stats)
}

// IsFull reports whether an error is a full disk's: nothing was harmed, and it
// passes when there is room.
func IsFull(err error) bool {
	var failed *damage.SyncError
	return errors.Is(err, syscall.ENOSPC) && !errors.As(err, &failed)
}

func removeIfThere(fsys vfs.FS, name string) error {
	if _, err := fsys.Stat(name); err != nil {
		return nil //nolint:nilerr // not there
	}
	return fsys.Remove(name)
}
