package journal

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/header"
)

const (
	fileSuffix    = ".journal"
	damagedSuffix = ".damaged"
	fillName      = "fill.tmp"
)

// FileName returns the name of a journal file.
func FileName(number uint64) string { return fmt.Sprintf("%016d%s", number, fileSuffix) }

// parseName reads what FileName writes.
func parseName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, fileSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

// listFiles returns the numbers of the journal files in a folder, in order.
func listFiles(fsys vfs.FS, dir string) ([]uint64, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := parseName(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// fileHeader is the first block of a journal file.
func fileHeader(cluster string, number uint64) []byte {
	return header.Header{Magic: fileMagic, Cluster: cluster, Number: number}.Encode(Block)
}

// checkHeader reads the first block of a journal file.
func checkHeader(f vfs.File, cluster string, number uint64) error {
	b := make([]byte, Block)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return fmt.Errorf("%w: %w", header.ErrDamaged, err)
	}
	h, err := header.Decode(b, fileMagic, cluster)
	if err != nil {
		return err
	}
	if h.Number != number {
		return fmt.Errorf("%w: it says number %d", header.ErrDamaged, h.Number)
	}
	return nil
}

// ReadBody reads bytes of a journal file, which the caller must verify: a frame
// whose place Replay told.
func ReadBody(fsys vfs.FS, dir string, at Place, n int) ([]byte, error) {
	f, err := fsys.Open(path.Join(dir, FileName(at.File)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, at.Offset); err != nil {
		return nil, fmt.Errorf("read journal file %d at %d: %w", at.File, at.Offset, err)
	}
	return b, nil
}
