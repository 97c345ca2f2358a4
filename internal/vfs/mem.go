package vfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Op names a call of the file system, for rules and for the sync hook.
type Op string

// The operations.
const (
	OpCreate   Op = "create"
	OpOpen     Op = "open"
	OpRemove   Op = "remove"
	OpRename   Op = "rename"
	OpMkdir    Op = "mkdir"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpTruncate Op = "truncate"
	OpSync     Op = "sync"
	OpDatasync Op = "datasync"
	OpSyncDir  Op = "syncdir"
)

// Mem is a file system in memory that knows what is durable and what is not:
// CrashClone gives it as a reboot would find it. A file keeps its bytes as
// written and as last synced; a folder its names as they are and as they were at
// the last SyncDir, with the operations in between. Rules inject failures.
//
// The zero value is not usable; call NewMem. All methods may be called
// concurrently.
type Mem struct {
	mu     sync.Mutex
	dirs   map[string]*memDir
	locks  map[string]bool
	rules  []*Rule
	hook   func(Op, string)
	space  int64 // bytes that files may have in all; < 0: no limit
	used   int64
	counts map[Op]int
}

var _ FS = (*Mem)(nil)

// NewMem returns an empty file system with a durable root folder and without a
// limit of space.
func NewMem() *Mem {
	m := &Mem{dirs: map[string]*memDir{}, locks: map[string]bool{}, space: -1, counts: map[Op]int{}}
	m.dirs["/"], m.dirs["."] = newMemDir(), newMemDir()
	return m
}

// memDir is a folder: its names now, its names as last synced, and what happened
// in between.
type memDir struct {
	names, synced map[string]*memNode
	pending       []dirOp
}

// memNode is a file or a folder.
type memNode struct {
	file *memData
	dir  *memDir
}

// dirOp is one change of a folder: a rename (from and to), an addition (to only)
// or a removal (from only).
type dirOp struct {
	from, to string
	node     *memNode
}

func newMemDir() *memDir {
	return &memDir{names: map[string]*memNode{}, synced: map[string]*memNode{}}
}

func (d *memDir) apply(names map[string]*memNode, op dirOp) {
	if op.from != "" {
		if names[op.from] != op.node {
			return // what it would move never came to be
		}
		delete(names, op.from)
	}
	if op.to != "" {
		names[op.to] = op.node
	}
}

func (d *memDir) change(op dirOp) {
	d.apply(d.names, op)
	d.pending = append(d.pending, op)
}

// SetSyncHook sets a function that is called before every Sync, Datasync and
// SyncDir takes effect, on the caller's goroutine and without a lock held: the
// moment at which the most can be lost. Nil removes it.
func (m *Mem) SetSyncHook(hook func(op Op, path string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = hook
}

// SetSpace limits how many bytes all files may have together: a write or
// truncation that would need more fails with ENOSPC and changes nothing. A
// negative number means no limit.
func (m *Mem) SetSpace(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.space = bytes
}

// Used returns how many bytes all files have together.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Count returns how many calls of an operation there have been, failed ones
// included.
func (m *Mem) Count(op Op) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[op]
}

// Flip changes bits of a file as a failing disk would: durably and unnoticed.
func (m *Mem) Flip(name string, offset int64, mask byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("flip", name)
	if err != nil {
		return err
	}
	if n.file == nil || offset >= int64(len(n.file.now)) {
		return &fs.PathError{Op: "flip", Path: name, Err: fs.ErrInvalid}
	}
	n.file.now[offset] ^= mask
	if offset < int64(len(n.file.synced)) {
		n.file.synced[offset] ^= mask
	}
	return nil
}

// Bytes returns a copy of a file as it is now.
func (m *Mem) Bytes(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.findLocked("read", name)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(n.file.now), nil
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.injectedLocked(OpCreate, name); err != nil {
		return nil, err
	}
	d, base, err := m.parentLocked("create", name)
	if err != nil {
		return nil, err
	}
	if d.names[base] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if m.space == 0 {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	n := &memNode{file: &memData{path: name}}
	d.change(dirOp{to: base, node: n})
	return &memFile{m: m, d: n.file}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.injectedLocked(OpOpen, name); err != nil {
		return nil, err
	}
	n, err := m.findLocked("open", name)
	if err != nil {
		return nil, err
	}
	if n.file == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	return &memFile{m: m, d: n.file}, nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.injectedLocked(OpRemove, name); err != nil {
		return err
	}
	n, err := m.findLocked("remove", name)
	if err != nil {
		return err
	}
	if n.dir != nil {
		if len(n.dir.names) > 0 {
			return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
		delete(m.dirs, path.Clean(name))
	}
	d, base, _ := m.parentLocked("remove", name)
	d.change(dirOp{from: base, node: n})
	if n.file != nil {
		m.used -= int64(len(n.file.now))
		n.file.removed = true
	}
	return nil
}

// Rename implements FS, for files.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.injectedLocked(OpRename, from); err != nil {
		return err
	}
	n, err := m.findLocked("rename", from)
	if err != nil {
		return err
	}
	d, base, err := m.parentLocked("rename", to)
	if err != nil {
		return err
	}
	if n.file == nil || path.Dir(path.Clean(from)) != path.Dir(path.Clean(to)) {
		return &fs.PathError{Op: "rename", Path: from, Err: fmt.Errorf("only files, and inside a folder: %w", fs.ErrInvalid)}
	}
	if old := d.names[base]; old != nil && old.file != nil && old != n {
		m.used -= int64(len(old.file.now))
		old.file.removed = true
	}
	d.change(dirOp{from: path.Base(path.Clean(from)), to: base, node: n})
	n.file.path = to
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.dirs[path.Clean(dir)]
	if d == nil {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	return slices.Sorted(maps.Keys(d.names)), nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clean := path.Clean(name)
	if m.dirs[clean] != nil {
		return memInfo{name: path.Base(clean), dir: true}, nil
	}
	n, err := m.findLocked("stat", name)
	if err != nil {
		return nil, err
	}
	return memInfo{name: path.Base(clean), size: int64(len(n.file.now))}, nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.injectedLocked(OpMkdir, dir); err != nil {
		return err
	}
	return m.mkdirLocked(path.Clean(dir))
}

func (m *Mem) mkdirLocked(dir string) error {
	if m.dirs[dir] != nil {
		return nil
	}
	if err := m.mkdirLocked(path.Dir(dir)); err != nil {
		return err
	}
	parent, base := m.dirs[path.Dir(dir)], path.Base(dir)
	if parent.names[base] != nil {
		return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
	}
	n := &memNode{dir: newMemDir()}
	parent.change(dirOp{to: base, node: n})
	m.dirs[dir] = n.dir
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.callHook(OpSyncDir, dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.injectedLocked(OpSyncDir, dir); err != nil {
		return err
	}
	d := m.dirs[path.Clean(dir)]
	if d == nil {
		return &fs.PathError{Op: "syncdir", Path: dir, Err: fs.ErrNotExist}
	}
	d.synced, d.pending = maps.Clone(d.names), nil
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	clean := path.Clean(name)
	d, base, err := m.parentLocked("lock", name)
	if err != nil {
		return nil, err
	}
	if m.locks[clean] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	if d.names[base] == nil {
		d.change(dirOp{to: base, node: &memNode{file: &memData{path: name}}})
	}
	m.locks[clean] = true
	return &memLock{m: m, name: clean}, nil
}

type memLock struct {
	m    *Mem
	name string
	once sync.Once
}

// Close gives the lock up.
func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locks, l.name)
	})
	return nil
}

func (m *Mem) parentLocked(op, name string) (*memDir, string, error) {
	clean := path.Clean(name)
	d := m.dirs[path.Dir(clean)]
	if d == nil {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return d, path.Base(clean), nil
}

func (m *Mem) findLocked(op, name string) (*memNode, error) {
	d, base, err := m.parentLocked(op, name)
	if err != nil {
		return nil, err
	}
	if d.names[base] == nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return d.names[base], nil
}

func (m *Mem) callHook(op Op, name string) {
	m.mu.Lock()
	hook := m.hook
	m.mu.Unlock()
	if hook != nil {
		hook(op, name)
	}
}

type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }

func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
