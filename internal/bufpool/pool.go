// Package bufpool keeps message buffers for gRPC: of more sizes than gRPC's own
// pool has, and not cleared.
package bufpool

import (
	"math/bits"
	"sync"

	"google.golang.org/grpc/mem"
)

// Pool holds message buffers of sizes that are powers of two from 2 KiB to 1
// MiB. gRPC's own pool has none between 32 KiB and 1 MiB and clears what it hands
// out, so that a frame of 40 KiB costs the clearing of a whole MiB; whoever takes a
// buffer here writes all of it. Make it with New. All methods may be called
// concurrently.
type Pool struct {
	sized [maxBits - minBits + 1]sync.Pool
}

var _ mem.BufferPool = (*Pool)(nil)

const (
	minBits = 11
	maxBits = 20
)

// New makes an empty pool.
func New() *Pool {
	p := new(Pool)
	for i := range p.sized {
		size := 1 << (minBits + i)
		p.sized[i].New = func() any { b := make([]byte, size); return &b }
	}
	return p
}

// Get returns a buffer of that length with any content.
func (p *Pool) Get(length int) *[]byte {
	i := max(0, bits.Len(uint(max(length, 1)-1))-minBits)
	if i >= len(p.sized) {
		b := make([]byte, length)
		return &b
	}
	b := p.sized[i].Get().(*[]byte)
	*b = (*b)[:length]
	return b
}

// Put takes a buffer back; those of other sizes are left to the collector.
func (p *Pool) Put(b *[]byte) {
	i := bits.Len(uint(cap(*b))) - 1 - minBits
	if i < 0 || i >= len(p.sized) || cap(*b) != 1<<(minBits+i) {
		return
	}
	*b = (*b)[:cap(*b)]
	p.sized[i].Put(b)
}
