// Package requests remembers which transaction each recent request ID became,
// so that an attempt commits at most once however often it is sent (I4). It is
// pure; one goroutine owns a window.
//
// The window holds the request IDs of the last so many transactions without a
// gap, so absence is proof: a request that is not in it was not given an ID
// above the *floor*. What is at or below the floor only the log knows.
//
// IDs are dense, so a request's place in the ring says its ID. 16 bytes per
// transaction and an index of 8-byte slots; both grow by doubling.
package requests

import (
	"encoding/binary"

	"github.com/waltz-log/waltz/internal/probe"
	"github.com/waltz-log/waltz/internal/txn"
)

// Window is the request-ID window of one partition. Make it with New.
type Window struct {
	sizeMax int
	ring    []txn.RequestID // length is a power of two, or 0; ID i lies at i & (len-1)
	first   txn.ID          // oldest ID remembered
	next    txn.ID          // ID that the next Add gets
	index   probe.Index
}

// New makes an empty window that remembers the last sizeMax (a power of two)
// transactions, of which next will be the first.
func New(sizeMax int, next txn.ID) *Window {
	return &Window{sizeMax: sizeMax, first: next, next: next}
}

// Floor returns the highest ID that is not remembered, although there may be
// such a transaction; None if everything is remembered.
func (w *Window) Floor() txn.ID { return w.first - 1 }

// Next returns the ID that the next Add stands for.
func (w *Window) Next() txn.ID { return w.next }

// Bytes returns the memory taken, in bytes.
func (w *Window) Bytes() int { return 16*len(w.ring) + w.index.Bytes() }

// Lookup returns the transaction that a request became, if it is above the floor.
func (w *Window) Lookup(r txn.RequestID) (txn.ID, bool) {
	s := w.find(r)
	if s < 0 {
		return txn.None, false
	}
	return w.idAt(w.index.At(s)), true
}

func (w *Window) find(r txn.RequestID) int {
	return w.index.Find(tag(r), func(pos uint32) bool { return w.ring[pos] == r })
}

func tag(r txn.RequestID) uint32 { return probe.Tag(binary.LittleEndian.Uint64(r[8:])) }

// idAt returns the ID whose request lies at a position: the one of first..next-1
// that fits.
func (w *Window) idAt(pos uint32) txn.ID {
	size := txn.ID(len(w.ring))
	return w.first + (txn.ID(pos)-w.first)&(size-1)
}

// Add remembers the request of the next transaction.
func (w *Window) Add(r txn.RequestID) {
	if n := int(w.next - w.first); n == w.sizeMax {
		w.forgetFirst()
	} else if n == len(w.ring) {
		w.grow()
	}
	pos := uint32(w.next & txn.ID(len(w.ring)-1))
	w.ring[pos] = r
	w.index.Insert(tag(r), pos)
	w.next++
}

func (w *Window) forgetFirst() {
	pos := uint32(w.first & txn.ID(len(w.ring)-1))
	t := tag(w.ring[pos])
	w.index.Remove(w.index.Find(t, func(p uint32) bool { return p == pos }))
	w.first++
}

func (w *Window) grow() {
	old := w.ring
	w.ring = make([]txn.RequestID, max(64, 2*len(old)))
	w.index = probe.Index{}
	for id := w.first; id < w.next; id++ {
		pos := uint32(id & txn.ID(len(w.ring)-1))
		w.ring[pos] = old[id&txn.ID(len(old)-1)]
		w.index.Insert(tag(w.ring[pos]), pos)
	}
}
