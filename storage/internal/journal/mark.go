package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"path"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/vfs"
)

// The mark, little endian:
//
//	offset size
//	     0    8  magic "WALTZMRK"
//	     8    8  number of the file
//	    16    8  offset of the end of the last synced group
//	    24    4  CRC-32C of bytes 0..24
//	    28    4  zero
const (
	// MarkName is the name of the mark's file.
	MarkName  = "synced"
	markMagic = "WALTZMRK"
	markSize  = 32
)

// mark says that everything before a place was synced.
type mark struct {
	file uint64
	end  int64
}

func (m mark) encode() []byte {
	b := make([]byte, 0, markSize)
	b = append(b, markMagic...)
	b = binary.LittleEndian.AppendUint64(b, m.file)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.end))
	return binary.LittleEndian.AppendUint64(b, uint64(record.Checksum(b)))
}

// covers reports whether the bytes at a place were synced as part of a group.
func (m mark) covers(file uint64, offset int64) bool {
	if mutant.On("synced-mark-ignored") {
		return false
	}
	return m.file > file || m.file == file && m.end > offset
}

func decodeMark(b []byte) (mark, bool) {
	if len(b) != markSize || string(b[:8]) != markMagic ||
		binary.LittleEndian.Uint64(b[24:]) != uint64(record.Checksum(b[:24])) {
		return mark{}, false
	}
	return mark{file: binary.LittleEndian.Uint64(b[8:]), end: int64(binary.LittleEndian.Uint64(b[16:]))}, true
}

// openMark opens the mark, making it if need be. One that can't be read is as
// good as none; whole tells. An empty one, or zeros, is what a power cut leaves
// of a mark that was new.
func openMark(fsys vfs.FS, dir string) (f vfs.File, m mark, whole bool, err error) {
	name := path.Join(dir, MarkName)
	f, err = fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = fsys.Create(name)
		return f, mark{}, true, err
	}
	if err != nil {
		return nil, mark{}, false, err
	}
	b := make([]byte, markSize)
	n, _ := f.ReadAt(b, 0)
	m, whole = decodeMark(b[:n])
	return f, m, whole || len(bytes.Trim(b, "\x00")) == 0, nil
}
