// Package vfs is the file system as the storage engine sees it: few enough
// calls that a test can fake all of them, crash it at every sync and inject any
// failure. OS is the real one, Mem lives in memory and can crash.
//
// What is durable when: the bytes of a file after Sync or Datasync; a file's
// existence, name and removal after SyncDir of its folder. Everything else may
// be lost, in any combination, when the machine stops.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// ErrLocked is returned by Lock while another process, or another Lock call of
// this one, holds the file.
var ErrLocked = errors.New("file is locked by another process")

// FS is a file system. Paths are slash-separated and as the caller gives them.
// All methods may be called concurrently. Errors satisfy errors.Is with
// fs.ErrNotExist, fs.ErrExist and syscall.ENOSPC as those of package os do.
type FS interface {
	// Create makes an empty file for reading and writing; an existing one is an error.
	Create(path string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(path string) (File, error)
	// Remove deletes a file or an empty folder.
	Remove(path string) error
	// Rename moves a file over whatever has the new name.
	Rename(from, to string) error
	// List returns the names in a folder, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or folder.
	Stat(path string) (fs.FileInfo, error)
	// MkdirAll makes a folder and its parents.
	MkdirAll(dir string) error
	// SyncDir makes creations, renames and removals in a folder durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on a file, which it creates if need be, until
	// the returned Closer is closed or the process ends. It does not wait: ErrLocked.
	Lock(path string) (io.Closer, error)
}

// File is an open file. ReadAt and WriteAt may be called concurrently on
// ranges that do not overlap.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size returns the length in bytes.
	Size() (int64, error)
	// Truncate sets the length.
	Truncate(size int64) error
	// Sync makes data and metadata durable.
	Sync() error
	// Datasync makes data durable, and of the metadata what is needed to read it back.
	Datasync() error
}
