package segment

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/header"
)

const (
	segmentMagic  = "WALTZSEG"
	segmentSuffix = ".seg"
	indexSuffix   = ".idx"
)

// Config says where a partition's segments are.
type Config struct {
	FS        vfs.FS
	Dir       string // the partition's own
	Cluster   string
	Partition txn.Partition
	Bytes     int64 // from which size on the next segment begins
	Files     *Files
	// Odd is told of damage that loses nothing: of an index.
	Odd func(file, why string)
}

// Log is the segments of one partition. Cut, Append, Flush, Sync, Seal, Rebuild,
// Adopt and Close are for one goroutine; Read, At, Scrub, Prefix, Rewrite, Bytes
// and Extents may be called concurrently with them and each other. A read of records that Cut removes at
// the same time may fail or return them; the caller must know.
type Log struct {
	c       Config
	extents atomic.Pointer[[]Extent] // replaced, never changed
	suspect atomic.Pointer[string]   // an index that a reader found damaged
	w       writer
}

// Extent is one segment.
type Extent struct {
	First, Last txn.ID
	Size        int64 // bytes; 0: all of the file
	entries     int   // of its index; -1: all of the file
}

// Open lists the segments in a folder. It opens none. Until Cut was called the
// last one's end is not known.
func Open(c Config) (*Log, error) {
	names, err := c.FS.List(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("list segments in %s: %w", c.Dir, err)
	}
	// A process that was killed may have removed segments and not have synced that:
	// without a sync behind it, a crash would bring them back behind new records (I2).
	l := &Log{c: c, w: writer{end: txn.None, dirDirty: !mutant.On("cut-segment-not-synced")}}
	var extents []Extent
	for _, name := range names {
		if first, ok := parseName(name); ok {
			extents = append(extents, Extent{First: first, entries: -1})
		}
		if strings.HasSuffix(name, rewriteSuffix) { // a repair that came to nothing
			if err := c.FS.Remove(l.path(name)); err != nil {
				return nil, fmt.Errorf("remove %s: %w", l.path(name), err)
			}
		}
	}
	slices.SortFunc(extents, func(a, b Extent) int { return cmp.Compare(a.First, b.First) })
	for i := range extents {
		extents[i].Last = extents[i].First // at least, if it is the last
		if i+1 < len(extents) {
			extents[i].Last = extents[i+1].First - 1
		}
	}
	l.extents.Store(&extents)
	return l, nil
}

// Extents returns the segments in order. The slice must not be changed.
func (l *Log) Extents() []Extent { return *l.extents.Load() }

// End returns the last record that was written.
func (l *Log) End() txn.ID { return l.w.end }

// Positioned reports whether End is known: Cut was called.
func (l *Log) Positioned() bool { return l.w.positioned }

// Bytes returns how long the segments are together, without their indexes.
func (l *Log) Bytes() (all int64) {
	for _, e := range l.Extents() {
		size := e.Size
		if size == 0 {
			if info, err := l.c.FS.Stat(l.path(segmentName(e.First))); err == nil {
				size = info.Size()
			}
		}
		all += size
	}
	return all
}

// segmentName returns the name of a segment's file in its folder.
func segmentName(first txn.ID) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

func indexName(first txn.ID) string { return fmt.Sprintf("%020d%s", first, indexSuffix) }

func parseName(name string) (txn.ID, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return txn.ID(n), err == nil && n >= 0
}

func (l *Log) path(name string) string { return path.Join(l.c.Dir, name) }

// find returns the segment that should hold a record.
func (l *Log) find(id txn.ID) (Extent, bool) {
	all := l.Extents()
	i := sort.Search(len(all), func(i int) bool { return all[i].First > id }) - 1
	if i < 0 || id > all[i].Last {
		return Extent{}, false
	}
	return all[i], true
}

func (l *Log) header(magic string, first txn.ID) header.Header {
	return header.Header{Magic: magic, Cluster: l.c.Cluster, Number: uint64(first), Partition: l.c.Partition}
}

// checkHeader verifies the first block of one of the log's files.
func (l *Log) checkHeader(f vfs.File, magic string, first txn.ID) error {
	b := make([]byte, header.Size)
	if n, err := f.ReadAt(b, 0); err != nil && (!errors.Is(err, io.EOF) || n < len(b)) {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: %d bytes", header.ErrDamaged, n)
		}
		return err
	}
	h, err := header.Decode(b, magic, l.c.Cluster)
	if err != nil {
		return err
	}
	if h != l.header(magic, first) {
		return fmt.Errorf("%w: it is of partition %d from transaction %d", header.ErrDamaged, h.Partition, h.Number)
	}
	return nil
}

// open opens a segment for reading.
func (l *Log) open(first txn.ID) (*openFile, error) {
	return l.c.Files.acquire(l.path(segmentName(first)), func(f vfs.File) error { return l.checkHeader(f, segmentMagic, first) })
}

// openIndex opens a segment's index for reading, and counts its entries.
func (l *Log) openIndex(e Extent) (*openFile, index, error) {
	f, err := l.c.Files.acquire(l.path(indexName(e.First)), func(f vfs.File) error { return l.checkHeader(f, indexMagic, e.First) })
	if err != nil {
		return nil, index{}, err
	}
	x := index{f: f, n: e.entries}
	if x.n < 0 {
		size, err := f.Size()
		if err != nil || size < header.Size || (size-header.Size)%entrySize != 0 {
			l.c.Files.release(f)
			return nil, index{}, errors.Join(errIndex, err)
		}
		x.n = int((size - header.Size) / entrySize)
	}
	return f, x, nil
}

// size returns where a segment's records end.
func (e Extent) size(f vfs.File) (int64, error) {
	if e.Size > 0 {
		return e.Size, nil
	}
	return f.Size()
}
