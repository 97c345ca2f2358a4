package journal

import (
	"encoding/binary"
	"fmt"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
)

// Block is the unit in which the journal is written. Groups begin and end at a
// multiple of it, so that a block which was synced is never written again, and
// no torn write can hurt an entry that was answered.
const Block = 4096

const (
	fileMagic   = "WALTZJRN"
	groupMagic  = 0x50524757 // "WGRP"
	groupHeader = 48
	entryHeader = 48
)

// Kind says what an entry is.
type Kind uint8

// The kinds. Which fields of Entry each uses stands beside it.
const (
	// State is everything about a replica but its records: Body. In the first
	// group of each file there is one for every replica; elsewhere it creates one.
	State Kind = 1 + iota
	// Records adds a frame: First, Last, Session (the last record's stamp),
	// Committed, Body.
	Records
	// Promise promises a session: Session.
	Promise
	// Install installs a session's start: Session.
	Install
	// Truncate drops all records above Last.
	Truncate
	// Flushed says that segments hold everything up to Last, on disk.
	Flushed
	// Reset makes the replica another one, with the log up to Last: Session (its
	// incarnation), Last. What is kept is in synced segments.
	Reset
	// Service says whether the replica takes messages: Session (a partition.Service).
	Service
	// Damaged says that records First to Last can't be read: First, Last, Body.
	Damaged
	// Repaired says that records First to Last were verified anew: First, Last.
	Repaired
	// Gone says that there is no such replica, nor its files, any more.
	Gone
)

func (k Kind) String() string {
	switch k {
	case State:
		return "state"
	case Records:
		return "records"
	case Promise:
		return "promise"
	case Install:
		return "install"
	case Truncate:
		return "truncate"
	case Flushed:
		return "flushed"
	case Reset:
		return "reset"
	case Service:
		return "service"
	case Damaged:
		return "damaged"
	case Repaired:
		return "repaired"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Entry is one step of one replica's history.
type Entry struct {
	Kind      Kind
	Partition txn.Partition
	First     txn.ID
	Last      txn.ID
	Session   txn.SessionID
	Committed txn.ID
	Body      []byte
}

// Group collects entries that are written and synced together.
type Group struct {
	buf   []byte // aligned, for direct writes
	count int
}

// NewGroup returns an empty group with room for so many bytes.
func NewGroup(bytes int) *Group {
	return &Group{buf: vfs.Aligned(max(bytes, Block))[:groupHeader]}
}

// Empty reports whether nothing was added.
func (g *Group) Empty() bool { return g.count == 0 }

// Bytes returns the length so far.
func (g *Group) Bytes() int { return len(g.buf) }

// Body returns bytes of the group, by the offset that Add returned. They stay as
// they are for as long as the group is not used again.
func (g *Group) Body(offset, n int) []byte { return g.buf[offset : offset+n : offset+n] }

// Add copies an entry into the group and returns the offset of its body there.
func (g *Group) Add(e Entry) int {
	start := len(g.buf)
	g.grow(entryHeader + len(e.Body))
	g.extend(entryHeader)
	g.buf = append(g.buf, e.Body...)
	putEntry(g.buf[start:], &e)
	g.count++
	return start + entryHeader
}

// grow makes room for n more bytes, and stays aligned.
func (g *Group) grow(n int) {
	if need := len(g.buf) + n; need > cap(g.buf) {
		g.buf = append(vfs.Aligned(max(need, 2*cap(g.buf))), g.buf...)
	}
}

// extend adds n zeros.
func (g *Group) extend(n int) {
	end := len(g.buf)
	g.grow(n)
	g.buf = g.buf[:end+n]
	clear(g.buf[end:])
}

func putEntry(b []byte, e *Entry) {
	le := binary.LittleEndian
	le.PutUint32(b[4:], uint32(len(e.Body)))
	le.PutUint32(b[8:], uint32(e.Partition))
	b[12] = byte(e.Kind)
	le.PutUint64(b[16:], uint64(e.First))
	le.PutUint64(b[24:], uint64(e.Last))
	le.PutUint64(b[32:], uint64(e.Session))
	le.PutUint64(b[40:], uint64(e.Committed))
	le.PutUint32(b, record.Checksum(b[4:entryHeader]))
}

// place is where a group stands and which one it is.
type place struct {
	file   uint64
	offset int64
	seq    uint64
}

// seal pads the group to whole blocks, writes its header and returns its bytes.
// It may be called again for another place.
func (g *Group) seal(p place) []byte {
	g.extend(-len(g.buf) & (Block - 1))
	b, le := g.buf, binary.LittleEndian
	le.PutUint32(b, groupMagic)
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], uint32(g.count))
	le.PutUint64(b[16:], p.file)
	le.PutUint64(b[24:], uint64(p.offset))
	le.PutUint64(b[32:], p.seq)
	le.PutUint32(b[40:], record.Checksum(b[groupHeader:]))
	le.PutUint32(b[44:], 0)
	le.PutUint32(b[4:], record.Checksum(b[8:groupHeader]))
	return b
}

// head is a group's header.
type head struct {
	place
	length, count int
	checksum      uint32
}

// readHead reads the header of a group, and reports whether one begins here.
func readHead(b []byte) (head, bool) {
	le := binary.LittleEndian
	if len(b) < groupHeader || le.Uint32(b) != groupMagic || le.Uint32(b[44:]) != 0 ||
		le.Uint32(b[4:]) != record.Checksum(b[8:groupHeader]) {
		return head{}, false
	}
	h := head{
		place:  place{file: le.Uint64(b[16:]), offset: int64(le.Uint64(b[24:])), seq: le.Uint64(b[32:])},
		length: int(le.Uint32(b[8:])), count: int(le.Uint32(b[12:])), checksum: le.Uint32(b[40:]),
	}
	return h, h.length >= Block && h.length%Block == 0
}

// belongs reports whether a group found at a place was written there in the
// file's present life, as the given one or a later one; else it is what was left
// over from an earlier life.
func (h head) belongs(at place) bool {
	if mutant.On("recycled-tail-accepted") {
		return true
	}
	return h.file == at.file && h.offset == at.offset && h.seq >= at.seq
}

// whole reports whether b is the group that the header announces.
func (h head) whole(b []byte) bool {
	return len(b) == h.length && record.Checksum(b[groupHeader:]) == h.checksum
}

// readEntry reads the entry at the start of b and its size. The body aliases b
// and is not checked.
func readEntry(b []byte) (Entry, int, error) {
	le := binary.LittleEndian
	if len(b) < entryHeader {
		return Entry{}, 0, fmt.Errorf("%d bytes are too few for an entry", len(b))
	}
	if got, want := record.Checksum(b[4:entryHeader]), le.Uint32(b); got != want {
		return Entry{}, 0, fmt.Errorf("entry's checksum is %08x, it says %08x", got, want)
	}
	n := uint64(le.Uint32(b[4:])) + entryHeader
	if n > uint64(len(b)) {
		return Entry{}, 0, fmt.Errorf("entry of %d bytes in the %d that are left", n, len(b))
	}
	return Entry{
		Partition: txn.Partition(le.Uint32(b[8:])), Kind: Kind(b[12]),
		First: txn.ID(le.Uint64(b[16:])), Last: txn.ID(le.Uint64(b[24:])),
		Session: txn.SessionID(le.Uint64(b[32:])), Committed: txn.ID(le.Uint64(b[40:])),
		Body: b[entryHeader:n:n],
	}, int(n), nil
}
