package segment

import (
	"errors"
	"sync"

	"github.com/waltz-log/waltz/internal/vfs"
)

// Files keeps a bounded number of files open for reading, for all partitions of
// a storage.
type Files struct {
	fs  vfs.FS
	max int

	mu   sync.Mutex
	open map[string]*openFile
	tick uint64
	gone uint64 // drops so far
}

// openFile is a file that somebody may be reading.
type openFile struct {
	vfs.File
	path string
	refs int
	used uint64
	gone bool // dropped or evicted; the last reader closes it
}

// NewFiles returns a cache of at most max files that nobody is reading.
func NewFiles(fsys vfs.FS, limit int) *Files {
	return &Files{fs: fsys, max: limit, open: map[string]*openFile{}}
}

// acquire opens a file or returns the open one; check is asked once for each
// opening. The caller gives it back with release.
func (c *Files) acquire(path string, check func(vfs.File) error) (*openFile, error) {
	f, gone := c.lookup(path)
	if f != nil {
		return f, nil
	}
	raw, err := c.fs.Open(path)
	if err != nil {
		return nil, err
	}
	if err := check(raw); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.open[path]; f != nil { // somebody else was as quick
		f.refs++
		return f, raw.Close()
	}
	c.tick++
	f = &openFile{File: raw, path: path, refs: 1, used: c.tick}
	if c.gone != gone { // it may be what was removed or replaced meanwhile: for this reader only
		f.gone = true
		return f, nil
	}
	c.open[path] = f
	c.evictLocked()
	return f, nil
}

// lookup returns the open file, if there is one, and how many were dropped.
func (c *Files) lookup(path string) (*openFile, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.open[path]
	if f != nil {
		c.tick++
		f.refs, f.used = f.refs+1, c.tick
	}
	return f, c.gone
}

func (c *Files) release(f *openFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.refs--; f.refs == 0 && f.gone {
		_ = f.Close() // only read
	}
}

// evictLocked closes the file that was idle for longest if there are too many.
func (c *Files) evictLocked() {
	if len(c.open) <= c.max {
		return
	}
	var oldest *openFile
	for _, f := range c.open {
		if f.refs == 0 && (oldest == nil || f.used < oldest.used) {
			oldest = f
		}
	}
	if oldest != nil {
		c.dropLocked(oldest)
	}
}

// drop forgets a file. Called after it was removed or replaced, it makes sure that
// nobody is given the old one for its name any more.
func (c *Files) drop(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone++
	if f := c.open[path]; f != nil {
		c.dropLocked(f)
	}
}

func (c *Files) dropLocked(f *openFile) {
	delete(c.open, f.path)
	if f.gone = true; f.refs == 0 {
		_ = f.Close() // only read
	}
}

// Close closes all files that nobody is reading.
func (c *Files) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.open {
		c.dropLocked(f)
	}
}
