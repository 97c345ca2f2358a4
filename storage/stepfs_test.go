package storage_test

import (
	"sync"

	"github.com/waltz-log/waltz/internal/vfs"
)

// stepFS is a Mem that tells of every call that changes it, before it takes
// effect: the moments between which a crash makes a difference.
type stepFS struct {
	*vfs.Mem
	mu   sync.Mutex
	tell func(op vfs.Op, name string) // nil: nobody
}

func (s *stepFS) watch(tell func(vfs.Op, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell = tell
}

func (s *stepFS) step(op vfs.Op, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tell != nil {
		s.tell(op, name)
	}
}

func (s *stepFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &stepFile{File: f, s: s, name: name}, nil
}

func (s *stepFS) Create(name string) (vfs.File, error) {
	s.step(vfs.OpCreate, name)
	f, err := s.Mem.Create(name)
	return s.wrap(name, f, err)
}

func (s *stepFS) Open(name string) (vfs.File, error) {
	f, err := s.Mem.Open(name)
	return s.wrap(name, f, err)
}

func (s *stepFS) Remove(name string) error {
	s.step(vfs.OpRemove, name)
	return s.Mem.Remove(name)
}

func (s *stepFS) Rename(from, to string) error {
	s.step(vfs.OpRename, from)
	return s.Mem.Rename(from, to)
}

func (s *stepFS) SyncDir(dir string) error {
	s.step(vfs.OpSyncDir, dir)
	return s.Mem.SyncDir(dir)
}

type stepFile struct {
	vfs.File
	s    *stepFS
	name string
}

func (f *stepFile) WriteAt(b []byte, off int64) (int, error) {
	f.s.step(vfs.OpWrite, f.name)
	return f.File.WriteAt(b, off)
}

func (f *stepFile) Truncate(size int64) error {
	f.s.step(vfs.OpTruncate, f.name)
	return f.File.Truncate(size)
}

func (f *stepFile) Sync() error {
	f.s.step(vfs.OpSync, f.name)
	return f.File.Sync()
}

func (f *stepFile) Datasync() error {
	f.s.step(vfs.OpDatasync, f.name)
	return f.File.Datasync()
}
