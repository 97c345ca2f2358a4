package journal

import (
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// Place is a place in the journal.
type Place struct {
	File   uint64
	Offset int64
}

func (p Place) String() string { return fmt.Sprintf("%s at %d", FileName(p.File), p.Offset) }

// Replayer takes what Replay finds, in the order in which it was written.
type Replayer interface {
	// Entry is a whole entry; opens says that it is in the first group of a file.
	// The body aliases a buffer that is used again; at is its place.
	Entry(e Entry, at Place, opens bool) error
	// Lost is an entry whose body was damaged; its other fields are right.
	Lost(e Entry, at Place, why string)
	// Gap says that an unknown number of entries of any replica was here and can't
	// be read.
	Gap(at Place, why string)
	// Odd is damage that lost nothing.
	Odd(at Place, why string)
}

// Found is what Replay found on the disk.
type Found struct {
	Files   []uint64        // with groups, in order
	Next    uint64          // number of the file to go on with; it may be there, unused
	Seq     uint64          // of the next group
	Damaged map[uint64]bool // files with damage
	Unsure  Range           // whole groups at the end that may not be on the disk, only in its cache
}

// Range is a part of a journal file, from one offset to before another.
type Range struct {
	File     uint64
	From, To int64
}

// Replay reads all groups of the journal in dir, checks them, and tells r of
// what is in them. A torn tail is cut by being passed over. An error means that
// the journal can't be read at all, or is not ours: header.ErrOtherCluster,
// header.ErrNewerFormat.
func Replay(fsys vfs.FS, dir, cluster string, r Replayer) (Found, error) {
	f, m, whole, err := openMark(fsys, dir)
	if err != nil {
		return Found{}, fmt.Errorf("open mark of journal %s: %w", dir, err)
	}
	if err := f.Close(); err != nil {
		return Found{}, err
	}
	numbers, err := listFiles(fsys, dir)
	if err != nil {
		return Found{}, fmt.Errorf("list journal %s: %w", dir, err)
	}
	s := &scan{fs: fsys, dir: dir, cluster: cluster, mark: m, r: r, found: Found{Seq: 1, Damaged: map[uint64]bool{}}}
	if !whole {
		s.r.Odd(Place{File: 0}, "the mark of what was synced is damaged")
	}
	err = s.run(numbers)
	return s.found, err
}

// scan is one replay.
type scan struct {
	fs      vfs.FS
	dir     string
	cluster string
	mark    mark
	r       Replayer
	found   Found
	started bool  // a group was seen, so found.Seq is known
	ended   Place // the end of the last whole group
	pending []bad // places behind the last whole group that hold none
	win     window
}

// bad is a place where no whole group stands: unused, torn, or damaged. Which of
// them, only what follows can tell.
type bad struct {
	at   Place
	head head // if its header can be read
	have bool
}

func (s *scan) run(numbers []uint64) error {
	var last uint64
	for _, n := range numbers {
		if last != 0 && n != last+1 {
			s.gap(Place{File: last + 1}, fmt.Sprintf("%s is missing", FileName(last+1)))
		}
		used, err := s.file(n)
		if err != nil {
			return fmt.Errorf("replay journal file %s: %w", path.Join(s.dir, FileName(n)), err)
		}
		s.found.Files = append(s.found.Files, n)
		if last = n; n == numbers[len(numbers)-1] {
			s.end(n, used)
		}
	}
	s.found.Unsure = s.unsure()
	s.found.Next = last // there, and unused
	if n := len(s.found.Files); n > 0 && s.found.Files[n-1] == last || last == 0 {
		s.found.Next++
	}
	if s.mark.file > last {
		s.gap(Place{File: s.mark.file}, fmt.Sprintf("%s is missing", FileName(s.mark.file)))
		s.found.Next = s.mark.file + 1
	}
	return nil
}

// end judges what the last file ends with: damage as far as the mark reaches,
// beyond it a torn tail, which is cut by going on in the next file.
func (s *scan) end(number uint64, used bool) {
	for _, b := range s.pending {
		if s.mark.covers(b.at.File, b.at.Offset) {
			used = used || b.at.File == number
			if !s.salvaged(b) {
				s.gap(b.at, "a group can't be read")
			}
		}
	}
	if !used {
		s.found.Files = s.found.Files[:len(s.found.Files)-1]
	}
}

// file replays one file and reports whether it has a whole group.
func (s *scan) file(number uint64) (used bool, err error) {
	f, err := s.fs.Open(path.Join(s.dir, FileName(number)))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return false, err
	}
	s.win = window{f: f, size: size}
	headErr := checkHeader(f, s.cluster, number)
	if headErr != nil && !errors.Is(headErr, header.ErrDamaged) {
		return false, headErr
	}
	used, err = s.groups(number, size)
	if used && headErr != nil {
		s.odd(Place{File: number}, headErr.Error())
	}
	return used, err
}

// groups replays the groups of a file and reports whether it has any.
func (s *scan) groups(number uint64, size int64) (used bool, err error) {
	for off := int64(Block); off < size; {
		h, b, state, err := s.group(number, off)
		if err != nil {
			return used, err
		}
		if state != groupWhole {
			off += s.noGroup(bad{at: Place{File: number, Offset: off}, head: h, have: state == groupTorn})
			continue
		}
		s.bridge(h)
		if err := s.entries(h, b); err != nil {
			return used, err
		}
		used = true
		off += int64(h.length)
		s.ended = Place{File: number, Offset: off}
	}
	return used, nil
}

// unsure returns what of the last groups the mark does not cover. There is one
// group under way at a time, so it is not in more than one file.
func (s *scan) unsure() Range {
	r := Range{File: s.ended.File, To: s.ended.Offset}
	switch {
	case s.mark.file > r.File:
		r.From = r.To
	case s.mark.file == r.File:
		r.From = min(s.mark.end, r.To)
	}
	return r
}

// noGroup notes a place without a group and returns how far the next one may be.
func (s *scan) noGroup(b bad) int64 {
	if b.have {
		s.pending = append(s.pending, b)
		return int64(b.head.length)
	}
	n := len(s.pending)
	if n == 0 || s.pending[n-1].have || s.pending[n-1].at.File != b.at.File {
		s.pending = append(s.pending, b)
	}
	return Block
}

// bridge judges the places without a group before a whole one. If it goes on
// where the last one ended they are the unused, or torn, end of the file
// before; else they are damage.
func (s *scan) bridge(h head) {
	pending := s.pending
	s.pending = nil
	switch {
	case s.started && h.seq == s.found.Seq:
		return
	case !s.started && len(pending) == 0:
		s.found.Seq = h.seq // the oldest file's first group
		return
	}
	at := Place{File: h.file, Offset: h.offset}
	for _, b := range pending {
		if !s.salvaged(b) {
			s.found.Damaged[b.at.File] = true
			at = b.at
			break
		}
	}
	if s.found.Seq != h.seq {
		s.gap(at, fmt.Sprintf("groups before %d can't be read", h.seq))
	}
}

// salvaged reads what can be read of a damaged group, and reports whether it
// was the next one, so that nothing else is missing before its end.
func (s *scan) salvaged(b bad) bool {
	if !b.have || s.started && b.head.seq != s.found.Seq {
		return false
	}
	raw, err := s.reread(b)
	if err != nil {
		return false
	}
	s.started, s.found.Seq = true, b.head.seq+1
	s.odd(b.at, "a group's checksum is wrong")
	for i, off := 0, groupHeader; i < b.head.count; i++ {
		e, n, err := readEntry(raw[off:])
		at := Place{File: b.at.File, Offset: b.at.Offset + int64(off)}
		if err != nil {
			s.gap(at, err.Error())
			return true
		}
		at.Offset += entryHeader
		s.salvage(e, at, b.at.Offset == Block)
		off += n
	}
	return true
}

// salvage tells of one entry of a damaged group.
func (s *scan) salvage(e Entry, at Place, opens bool) {
	if err := checkBody(e); err != nil {
		s.r.Lost(e, at, err.Error())
		return
	}
	if err := s.r.Entry(e, at, opens); err != nil {
		s.r.Lost(e, at, err.Error())
	}
}

// checkBody verifies a body without its group's checksum.
func checkBody(e Entry) error {
	switch e.Kind {
	case Records:
		_, err := record.Frame(e.Body).Check()
		return err
	case State, Damaged:
		if _, ok := StateContent(e.Body); !ok {
			return errors.New("a replica's state is damaged")
		}
	}
	return nil
}

func (s *scan) reread(b bad) ([]byte, error) {
	f, err := s.fs.Open(path.Join(s.dir, FileName(b.at.File)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := make([]byte, b.head.length)
	if _, err := f.ReadAt(raw, b.at.Offset); err != nil {
		return nil, err
	}
	return raw, nil
}

func (s *scan) odd(at Place, why string) {
	s.found.Damaged[at.File] = true
	s.r.Odd(at, why)
}

func (s *scan) gap(at Place, why string) {
	s.found.Damaged[at.File] = true
	s.r.Gap(at, why)
}

// entries tells of the entries of a whole group.
func (s *scan) entries(h head, b []byte) error {
	off := groupHeader
	for range h.count {
		e, n, err := readEntry(b[off:])
		if err != nil { // written so: the group's checksum is right
			return fmt.Errorf("group %d at %d: %w", h.seq, h.offset, err)
		}
		at := Place{File: h.file, Offset: h.offset + int64(off) + entryHeader}
		if err := s.r.Entry(e, at, h.offset == Block); err != nil {
			return fmt.Errorf("group %d at %d: %s of partition %d: %w", h.seq, h.offset, e.Kind, e.Partition, err)
		}
		off += n
	}
	s.started, s.found.Seq = true, h.seq+1
	return nil
}

// What stands at a place.
type groupState uint8

const (
	groupNone  groupState = iota // no header
	groupTorn                    // a header, but not its bytes
	groupWhole                   // all of it
)

// next is the least that a group at a place can be.
func (s *scan) next(number uint64, off int64) place {
	if !s.started {
		return place{file: number, offset: off}
	}
	return place{file: number, offset: off, seq: s.found.Seq}
}

// group reads what stands at a place of the file.
func (s *scan) group(number uint64, off int64) (head, []byte, groupState, error) {
	b, err := s.win.at(off, Block)
	if err != nil {
		return head{}, nil, groupNone, err
	}
	h, ok := readHead(b)
	if !ok || !h.belongs(s.next(number, off)) || off+int64(h.length) > s.win.size {
		return head{}, nil, groupNone, nil
	}
	b, err = s.win.at(off, h.length)
	if err != nil {
		return head{}, nil, groupNone, err
	}
	if !h.whole(b) {
		return h, nil, groupTorn, nil
	}
	return h, b, groupWhole, nil
}

const windowSize = 1 << 20

// window reads a file forward in large pieces.
type window struct {
	f     vfs.File
	size  int64
	start int64
	buf   []byte
}

// at returns n bytes of the file, which the next call may overwrite; fewer at
// its end.
func (w *window) at(off int64, n int) ([]byte, error) {
	if off < w.start || off+int64(n) > w.start+int64(len(w.buf)) {
		want := min(int64(max(n, windowSize)), w.size-off)
		if int64(cap(w.buf)) < want {
			w.buf = make([]byte, want)
		}
		w.start, w.buf = off, w.buf[:want]
		if got, err := w.f.ReadAt(w.buf, off); err != nil && (!errors.Is(err, io.EOF) || int64(got) < want) {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	b := w.buf[off-w.start:]
	return b[:min(n, len(b))], nil
}
