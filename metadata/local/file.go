package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"syscall"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/metadata"
)

// The file, little endian:
//
//	offset size
//	     0    8  magic "WALTZMD\n"
//	     8    4  CRC-32C of bytes 12..end
//	    12    4  format version
//	    16    8  length of what follows, in bytes
//	    24    .  entries in the order of their keys, each:
//	               4  length of the key
//	               4  length of the value
//	               8  version
//	               .  key, value
const (
	magic         = "WALTZMD\n"
	formatVersion = 1
	headerSize    = 24
	entryHeader   = 16
	fileBytesMax  = 1 << 30

	fileName = "metadata"
	tempName = "metadata.tmp"
	lockName = "LOCK"
)

// CorruptError reports a metadata file that is not what was written.
type CorruptError struct {
	Path   string
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("metadata file %s is damaged: %s; restore it from a backup", e.Path, e.Reason)
}

// file keeps the tree on disk.
type file struct {
	fs  vfs.FS
	dir string
}

// unknownError marks a failure after which the disk may hold either state.
type unknownError struct{ err error }

func (e *unknownError) Error() string   { return e.err.Error() }
func (e *unknownError) Unwrap() []error { return []error{metadata.ErrUnknown, e.err} }

func isUnknown(err error) bool { return errors.Is(err, metadata.ErrUnknown) }

// load reads the file; a missing one is an empty tree. What an interrupted
// replace left beside it is removed.
func (f *file) load() (map[string]entry, error) {
	name := path.Join(f.dir, fileName)
	if err := f.fs.Remove(path.Join(f.dir, tempName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove %s: %w", tempName, err)
	}
	b, err := readAll(f.fs, name)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]entry{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read metadata file %s: %w", name, err)
	}
	return decode(name, b)
}

func readAll(fsys vfs.FS, name string) ([]byte, error) {
	h, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	size, err := h.Size()
	if err != nil {
		return nil, err
	}
	if size > fileBytesMax {
		return nil, &CorruptError{Path: name, Reason: fmt.Sprintf("%d bytes are too many", size)}
	}
	b := make([]byte, size)
	if n, err := h.ReadAt(b, 0); err != nil && (!errors.Is(err, io.EOF) || n != len(b)) {
		return nil, err
	}
	return b, nil
}

// replace writes the tree beside the file and puts it in its place. Nothing is
// changed by an error that is not [metadata.ErrUnknown].
func (f *file) replace(entries map[string]entry) error {
	temp, name := path.Join(f.dir, tempName), path.Join(f.dir, fileName)
	if err := f.writeTemp(temp, encode(entries)); err != nil {
		return fmt.Errorf("write metadata file %s: %w", temp, err)
	}
	// From here on a crash may leave either tree, both whole.
	if err := f.fs.Rename(temp, name); err != nil {
		return &unknownError{fmt.Errorf("replace metadata file %s: %w", name, err)}
	}
	if err := f.fs.SyncDir(f.dir); err != nil {
		return &unknownError{fmt.Errorf("sync metadata folder %s: %w", f.dir, err)}
	}
	return nil
}

// writeTemp writes and syncs the new file. A write that fails (a full disk) can
// be tried again with a new file; a failed sync cannot be trusted and is final.
func (f *file) writeTemp(temp string, b []byte) (err error) {
	if err := f.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h, err := f.fs.Create(temp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	if _, err := h.WriteAt(b, 0); err != nil {
		return err
	}
	if err := h.Sync(); err != nil {
		if errors.Is(err, syscall.ENOSPC) { // delayed allocation
			return err
		}
		return &unknownError{err}
	}
	return nil
}

func encode(entries map[string]entry) []byte {
	le := binary.LittleEndian
	b := make([]byte, headerSize)
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		e := entries[key]
		if e.owner != nil {
			continue // ephemeral: ends with the process anyway
		}
		b = le.AppendUint32(b, uint32(len(key)))
		b = le.AppendUint32(b, uint32(len(e.value)))
		b = le.AppendUint64(b, uint64(e.version))
		b = append(append(b, key...), e.value...)
	}
	copy(b, magic)
	le.PutUint32(b[12:], formatVersion)
	le.PutUint64(b[16:], uint64(len(b)-headerSize))
	le.PutUint32(b[8:], record.Checksum(b[12:]))
	return b
}

func decode(name string, b []byte) (map[string]entry, error) {
	le := binary.LittleEndian
	damaged := func(format string, args ...any) error {
		return &CorruptError{Path: name, Reason: fmt.Sprintf(format, args...)}
	}
	if len(b) < headerSize || string(b[:8]) != magic {
		return nil, damaged("%d bytes do not begin as a metadata file does", len(b))
	}
	if got, want := record.Checksum(b[12:]), le.Uint32(b[8:]); got != want {
		return nil, damaged("checksum is %08x, the file says %08x", got, want)
	}
	if v := le.Uint32(b[12:]); v > formatVersion {
		return nil, fmt.Errorf("metadata file %s has format %d: %w", name, v, metadata.ErrNewerFormat)
	} else if v < 1 {
		return nil, damaged("format version %d", v)
	}
	if n := le.Uint64(b[16:]); n != uint64(len(b)-headerSize) {
		return nil, damaged("%d bytes behind the header, which says %d", len(b)-headerSize, n)
	}
	entries, before := map[string]entry{}, ""
	for b = b[headerSize:]; len(b) > 0; {
		if len(b) < entryHeader {
			return nil, damaged("%d bytes are too few for an entry", len(b))
		}
		key, value := uint64(le.Uint32(b)), uint64(le.Uint32(b[4:]))
		if entryHeader+key+value > uint64(len(b)) {
			return nil, damaged("an entry is longer than the file")
		}
		body := b[entryHeader : entryHeader+key+value]
		if string(body[:key]) <= before {
			return nil, damaged("key %q follows %q", body[:key], before)
		}
		before = string(body[:key])
		entries[before] = entry{value: body[key:], version: metadata.Version(le.Uint64(b[8:]))}
		b = b[entryHeader+key+value:]
	}
	return entries, nil
}

// makeDir makes a folder and its parents, durably. One that is there already may
// have been made a moment before a crash and is synced too, unless it holds the
// file, which is written only afterwards.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(path.Join(dir, fileName)); err == nil {
		return nil
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return fmt.Errorf("make folder %s: %w", dir, err)
	}
	for d := path.Dir(dir); ; d = path.Dir(d) {
		if err := fsys.SyncDir(d); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("sync folder %s: %w", d, err)
		}
		if d == path.Dir(d) {
			return nil
		}
	}
}
