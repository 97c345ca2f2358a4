package codec

import (
	"math/bits"
	"sync"

	"google.golang.org/grpc/mem"
)

// Pool returns the process's pool of message buffers, in sizes that are powers
// of two from 2 KiB to 1 MiB. grpc's default pool has none between 32 KiB and 1 MiB
// and clears what it hands out, so that a frame of 40 KiB costs the clearing of 1
// MiB (BASELINES §5); whoever takes a buffer here writes all of it.
func Pool() mem.BufferPool { return pool }

const (
	minBits = 11
	maxBits = 20
)

var pool = newBuffers()

type buffers struct {
	sized [maxBits - minBits + 1]sync.Pool
}

func newBuffers() *buffers {
	p := new(buffers)
	for i := range p.sized {
		size := 1 << (minBits + i)
		p.sized[i].New = func() any { b := make([]byte, size); return &b }
	}
	return p
}

// Get returns a buffer of that length with any content.
func (p *buffers) Get(length int) *[]byte {
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
func (p *buffers) Put(b *[]byte) {
	i := bits.Len(uint(cap(*b))) - 1 - minBits
	if i < 0 || i >= len(p.sized) || cap(*b) != 1<<(minBits+i) {
		return
	}
	*b = (*b)[:cap(*b)]
	p.sized[i].Put(b)
}
