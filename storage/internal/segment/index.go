package segment

import (
	"encoding/binary"
	"errors"
	"io"
	"sort"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/header"
)

const (
	indexMagic = "WALTZIDX"
	entrySize  = 32
	indexGap   = 4096 // bytes of a segment between two entries, at least
)

// entry is one of an index.
type entry struct {
	id     txn.ID
	offset int64
	time   txn.Timestamp
}

func appendEntry(b []byte, e entry, number int) []byte {
	le, start := binary.LittleEndian, len(b)
	b = le.AppendUint64(b, uint64(e.id))
	b = le.AppendUint64(b, uint64(e.offset))
	b = le.AppendUint64(b, uint64(e.time))
	b = le.AppendUint32(b, uint32(number))
	return le.AppendUint32(b, record.Checksum(b[start:]))
}

var errIndex = errors.New("index is damaged")

func decodeEntry(b []byte, number int) (entry, error) {
	le := binary.LittleEndian
	if len(b) < entrySize || le.Uint32(b[24:]) != uint32(number) || le.Uint32(b[28:]) != record.Checksum(b[:28]) {
		return entry{}, errIndex
	}
	return entry{id: txn.ID(le.Uint64(b)), offset: int64(le.Uint64(b[8:])), time: txn.Timestamp(le.Uint64(b[16:]))}, nil
}

// index reads entries of an index file without keeping them: a lookup reads a
// dozen, which is cheaper than the memory of all.
type index struct {
	f vfs.File
	n int // entries
}

func (x index) entry(i int) (entry, error) {
	b := make([]byte, entrySize)
	if n, err := x.f.ReadAt(b, header.Size+int64(i)*entrySize); err != nil && (!errors.Is(err, io.EOF) || n < entrySize) {
		if errors.Is(err, io.EOF) {
			return entry{}, errIndex
		}
		return entry{}, err
	}
	return decodeEntry(b, i)
}

// last returns the last entry that before accepts; before holds for a prefix
// of the entries. If it holds for none, number is -1.
func (x index) last(before func(entry) bool) (e entry, number int, err error) {
	n := sort.Search(x.n, func(i int) bool {
		if err != nil {
			return true
		}
		var probe entry
		probe, err = x.entry(i)
		return err != nil || !before(probe)
	})
	if err != nil || n == 0 {
		return entry{}, -1, err
	}
	e, err = x.entry(n - 1)
	return e, n - 1, err
}

// sampler decides which records get an entry. Its choice depends on the
// segment's bytes alone, so that a rebuilt index equals the first.
type sampler struct {
	n    int   // entries so far
	next int64 // offset from which on a record gets the next one
}

// takes reports whether the record at an offset gets an entry, and counts it.
func (s *sampler) takes(offset int64) bool {
	if offset < s.next {
		return false
	}
	s.n++
	s.next = offset + indexGap
	return true
}
