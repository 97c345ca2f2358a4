// Package probe is an open-addressing index from 32-bit tags to the positions
// of a ring, shared by the lock table and the request-ID window. It is pure.
//
// The keys themselves stay in the ring, where they are stored once; a slot is
// eight bytes: the tag (a slice of the key's hash) and the position. Collisions
// are probed linearly and removal shifts back what follows, so there are no
// tombstones and a table that only slides along with its ring never needs to be
// rebuilt. The index grows by doubling; it allocates only then.
package probe

import "math/bits"

const (
	slotsMin  = 64
	goldenMul = 0x9E3779B97F4A7C15
)

// slot is empty if pos is 0; otherwise it stands for position pos-1.
type slot struct{ tag, pos uint32 }

// Index maps tags to positions. Several entries may have one tag. The zero
// value is empty and takes no memory. Positions are below 1<<32 - 1.
type Index struct {
	slots []slot // length is a power of two, or 0
	shift uint   // 32 - log2(len(slots))
	used  int
}

// Tag makes a tag of a key's 64-bit hash; weak hashes are spread.
func Tag(hash uint64) uint32 { return uint32(hash * goldenMul >> 32) }

// Len returns the number of entries.
func (x *Index) Len() int { return x.used }

// Bytes returns the memory taken, in bytes.
func (x *Index) Bytes() int { return 8 * len(x.slots) }

// Find returns the slot of the entry with the tag whose position satisfies
// same, or -1. The slot is valid until the next Insert or Remove.
func (x *Index) Find(tag uint32, same func(pos uint32) bool) int {
	if len(x.slots) == 0 {
		return -1
	}
	mask := len(x.slots) - 1
	for i := int(tag >> x.shift); x.slots[i].pos != 0; i = (i + 1) & mask {
		if x.slots[i].tag == tag && same(x.slots[i].pos-1) {
			return i
		}
	}
	return -1
}

// At returns the position in a slot.
func (x *Index) At(slot int) uint32 { return x.slots[slot].pos - 1 }

// Set changes the position in a slot; the key stays the same.
func (x *Index) Set(slot int, pos uint32) { x.slots[slot].pos = pos + 1 }

// Insert adds an entry.
func (x *Index) Insert(tag, pos uint32) {
	if 2*(x.used+1) > len(x.slots) {
		x.grow()
	}
	x.used++
	x.put(slot{tag, pos + 1})
}

func (x *Index) put(s slot) {
	mask := len(x.slots) - 1
	i := int(s.tag >> x.shift)
	for x.slots[i].pos != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

func (x *Index) grow() {
	old := x.slots
	n := max(slotsMin, 2*len(old))
	x.slots = make([]slot, n)
	x.shift = uint(32 - bits.TrailingZeros(uint(n)))
	for _, s := range old {
		if s.pos != 0 {
			x.put(s)
		}
	}
}

// Remove takes out the entry in a slot and closes the gap: every entry behind
// it whose probe sequence passes the gap moves up.
func (x *Index) Remove(gap int) {
	mask := len(x.slots) - 1
	for i := (gap + 1) & mask; x.slots[i].pos != 0; i = (i + 1) & mask {
		home := int(x.slots[i].tag >> x.shift)
		if (i-home)&mask >= (i-gap)&mask {
			x.slots[gap] = x.slots[i]
			gap = i
		}
	}
	x.slots[gap] = slot{}
	x.used--
}
