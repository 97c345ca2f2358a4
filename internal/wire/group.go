package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/waltz-log/waltz/internal/txn"
)

// Attempt is one transaction that a client asks to append, named by its
// request ID. Locks, Key and Data alias the group it came in.
type Attempt struct {
	Seq       uint64 // the client's number of it in the stream
	Partition txn.Partition
	Header    txn.Header
	Request   txn.RequestID
	ClientHWM txn.ID // what it was computed from
	SentHWM   txn.ID // what was known to be committed when it was first sent
	Resend    bool
	Locks     []txn.Lock
	Key       []byte
	Data      []byte

	locksFrom, locksTo int // in the group's locks, while it is being decoded
}

// Floor returns the highest ID that the attempt can't have been committed as:
// all that its client knew to be committed before it first sent it.
func (a *Attempt) Floor() txn.ID { return max(a.SentHWM, a.ClientHWM) }

// Clone returns a copy that aliases nothing.
func (a *Attempt) Clone() Attempt {
	c := *a
	c.Locks, c.Key, c.Data = slices.Clone(a.Locks), slices.Clone(a.Key), slices.Clone(a.Data)
	return c
}

// AppendGroup is a decoded AppendRequest. It is decoded in place: the attempts
// alias the received buffer, which goes back to its pool with the last Release.
// Get it from [NewAppendGroup].
type AppendGroup struct {
	ClusterKey string
	Attempts   []Attempt

	locks []txn.Lock
	buf   mem.Buffer
	refs  atomic.Int32
}

var groups = sync.Pool{New: func() any { return new(AppendGroup) }}

// NewAppendGroup returns an empty group with one reference.
func NewAppendGroup() *AppendGroup {
	g := groups.Get().(*AppendGroup)
	g.refs.Store(1)
	return g
}

// Retain adds a reference.
func (g *AppendGroup) Retain() { g.refs.Add(1) }

// Release gives a reference back. After the last one neither the group nor
// anything that aliases it may be used.
func (g *AppendGroup) Release() {
	if g.refs.Add(-1) > 0 {
		return
	}
	if g.buf != nil {
		g.buf.Free()
		g.buf = nil
	}
	clear(g.Attempts)
	g.ClusterKey, g.Attempts, g.locks = "", g.Attempts[:0], g.locks[:0]
	groups.Put(g)
}

// poolBytesMax is the largest buffer that gRPC's pool hands out without
// clearing a megabyte for it.
const poolBytesMax = 32 << 10

// UnmarshalWire decodes an AppendRequest.
func (g *AppendGroup) UnmarshalWire(data mem.BufferSlice) error {
	if len(data) > 1 && data.Len() > poolBytesMax {
		g.buf = mem.SliceBuffer(data.Materialize())
	} else {
		g.buf = data.MaterializeToBuffer(mem.DefaultBufferPool())
	}
	return g.decode(g.buf.ReadOnlyData())
}

func (g *AppendGroup) decode(b []byte) error {
	firstSeq := uint64(0)
	err := fields(b, func(num protowire.Number, v value) (err error) {
		switch num {
		case 1:
			firstSeq, err = v.uint64()
		case 2:
			g.Attempts = append(g.Attempts, Attempt{})
			err = g.decodeAttempt(&g.Attempts[len(g.Attempts)-1], v)
		case 3:
			var key []byte
			key, err = v.bytes()
			g.ClusterKey = string(key)
		}
		return err
	})
	for i := range g.Attempts {
		a := &g.Attempts[i]
		a.Seq = firstSeq + uint64(i)
		a.Locks = g.locks[a.locksFrom:a.locksTo:a.locksTo]
	}
	if err != nil {
		return fmt.Errorf("decode append request: %w", err)
	}
	return nil
}

func (g *AppendGroup) decodeAttempt(a *Attempt, v value) error {
	b, err := v.bytes()
	if err != nil {
		return err
	}
	a.locksFrom = len(g.locks)
	err = fields(b, func(num protowire.Number, v value) error { return g.decodeField(a, num, v) })
	a.locksTo = len(g.locks)
	return err
}

func (g *AppendGroup) decodeField(a *Attempt, num protowire.Number, v value) (err error) {
	var n uint64
	switch num {
	case 1:
		n, err = v.uint64()
		a.Partition = txn.Partition(n)
	case 2:
		n, err = v.fixed64()
		binary.BigEndian.PutUint64(a.Request[:8], n)
	case 3:
		n, err = v.fixed64()
		binary.BigEndian.PutUint64(a.Request[8:], n)
	case 4:
		n, err = v.uint64()
		a.ClientHWM = txn.ID(protowire.DecodeZigZag(n))
	case 5:
		n, err = v.uint64()
		a.SentHWM = txn.ID(protowire.DecodeZigZag(n))
	case 6:
		n, err = v.uint64()
		a.Resend = n != 0
	case 7:
		n, err = v.uint64()
		a.Header = txn.Header(protowire.DecodeZigZag(n & math.MaxUint32))
	case 8:
		err = g.decodeLocks(v, txn.LockWrite)
	case 9:
		err = g.decodeLocks(v, txn.LockRead)
	case 10:
		err = g.decodeLocks(v, txn.LockAppend)
	case 11:
		a.Key, err = v.bytes()
	case 12:
		a.Data, err = v.bytes()
	}
	return err
}

// decodeLocks reads a repeated fixed64, packed or not.
func (g *AppendGroup) decodeLocks(v value, mode txn.LockMode) error {
	if v.typ == protowire.Fixed64Type {
		g.locks = append(g.locks, txn.Lock{Hash: txn.LockHash(v.num), Mode: mode})
		return nil
	}
	b, err := v.bytes()
	if err != nil {
		return err
	}
	if len(b)%8 != 0 {
		return errors.New("packed locks are cut off")
	}
	for ; len(b) > 0; b = b[8:] {
		g.locks = append(g.locks, txn.Lock{Hash: txn.LockHash(binary.LittleEndian.Uint64(b)), Mode: mode})
	}
	return nil
}
