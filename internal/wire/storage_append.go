package wire

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/waltz-log/waltz/internal/bufpool"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// The fields that Append and Copy have in common, by their numbers in the
// storages' contract.
const (
	fieldPartition protowire.Number = 1 + iota
	fieldSession
	fieldIncarnation
	fieldStart
	fieldPrevID
	fieldPrevStamp
	fieldCommitted
	fieldFrame
)

// appendHeadMax is more than the fields of an append before its frame take, with
// the tags and lengths around them.
const appendHeadMax = 128

// StorageAppends is a storage's AppendRequest on its way out. The frames are sent
// from where they lie, without a copy; they must never change.
type StorageAppends struct {
	FirstSeq uint64
	Appends  []session.Append
}

// MarshalWire encodes an AppendRequest.
func (a *StorageAppends) MarshalWire() (mem.BufferSlice, error) {
	heads := make([]byte, 0, 16+appendHeadMax*len(a.Appends))
	out := make(mem.BufferSlice, 0, 2*len(a.Appends)+1)
	heads = appendVarint(heads, 1, a.FirstSeq)
	begin := 0
	var fields [appendHeadMax]byte
	for i := range a.Appends {
		m := &a.Appends[i]
		head := appendHead(fields[:0], m)
		heads = protowire.AppendTag(heads, 2, protowire.BytesType)
		heads = protowire.AppendVarint(heads, uint64(len(head)+len(m.Records)))
		heads = append(heads, head...)
		out = append(out, mem.SliceBuffer(heads[begin:len(heads):len(heads)]), mem.SliceBuffer(m.Records))
		begin = len(heads)
	}
	if begin < len(heads) {
		out = append(out, mem.SliceBuffer(heads))
	}
	return out, nil
}

// appendHead encodes all of an append but the bytes of its frame, which come last.
func appendHead(b []byte, m *session.Append) []byte {
	b = appendVarint(b, fieldPartition, uint64(m.Partition))
	b = appendVarint(b, fieldSession, uint64(m.Session))
	b = appendFixed64(b, fieldIncarnation, uint64(m.Replica.Incarnation))
	b = appendFixed64(b, fieldStart, uint64(m.Replica.Start))
	b = appendVarint(b, fieldPrevID, protowire.EncodeZigZag(int64(m.PrevID)))
	b = appendVarint(b, fieldPrevStamp, uint64(m.PrevStamp))
	b = appendVarint(b, fieldCommitted, protowire.EncodeZigZag(int64(m.Committed)))
	b = protowire.AppendTag(b, fieldFrame, protowire.BytesType)
	return protowire.AppendVarint(b, uint64(len(m.Records)))
}

func appendFixed64(b []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), v)
}

// StorageGroup is a received AppendRequest. Its frames alias the received buffer.
// Receiving into it again reuses it; make it with NewStorageGroup. For one
// goroutine at a time.
type StorageGroup struct {
	FirstSeq uint64
	Appends  []session.Append

	pool *bufpool.Pool
	buf  mem.Buffer
}

// NewStorageGroup returns an empty group that takes its memory from a pool.
func NewStorageGroup(pool *bufpool.Pool) *StorageGroup { return &StorageGroup{pool: pool} }

// Release gives the memory of the frames back.
func (g *StorageGroup) Release() {
	if g.buf != nil {
		g.buf.Free()
		g.buf = nil
	}
	clear(g.Appends)
	g.FirstSeq, g.Appends = 0, g.Appends[:0]
}

// UnmarshalWire decodes an AppendRequest.
func (g *StorageGroup) UnmarshalWire(data mem.BufferSlice) error {
	g.Release()
	g.buf = data.MaterializeToBuffer(g.pool)
	err := fields(g.buf.ReadOnlyData(), func(num protowire.Number, v value) (err error) {
		switch num {
		case 1:
			g.FirstSeq, err = v.uint64()
		case 2:
			g.Appends = append(g.Appends, session.Append{})
			err = decodeAppend(&g.Appends[len(g.Appends)-1], v)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("decode append request of a server: %w", err)
	}
	return nil
}

func decodeAppend(m *session.Append, v value) error {
	b, err := v.bytes()
	if err != nil {
		return err
	}
	return fields(b, func(num protowire.Number, v value) error { return decodeAppendField(m, num, v) })
}

func decodeAppendField(m *session.Append, num protowire.Number, v value) (err error) {
	var n uint64
	switch num {
	case fieldPartition:
		n, err = v.uint64()
		m.Partition = txn.Partition(n)
	case fieldSession:
		n, err = v.uint64()
		m.Session = txn.SessionID(n)
	case fieldIncarnation:
		n, err = v.fixed64()
		m.Replica.Incarnation = session.Incarnation(n)
	case fieldStart:
		n, err = v.fixed64()
		m.Replica.Start = session.Start(n)
	case fieldPrevID:
		n, err = v.uint64()
		m.PrevID = txn.ID(protowire.DecodeZigZag(n))
	case fieldPrevStamp:
		n, err = v.uint64()
		m.PrevStamp = txn.SessionID(n)
	case fieldCommitted:
		n, err = v.uint64()
		m.Committed = txn.ID(protowire.DecodeZigZag(n))
	case fieldFrame:
		var b []byte
		b, err = v.bytes()
		m.Records = record.Frame(b)
	}
	return err
}

// StorageCopy is a storage's CopyRequest, on its way out or received. A received
// frame is a piece of memory of its own.
type StorageCopy session.Copy

// MarshalWire encodes a CopyRequest.
func (c *StorageCopy) MarshalWire() (mem.BufferSlice, error) {
	head := appendHead(nil, &session.Append{
		Partition: c.Partition, Session: c.Session, Replica: c.Replica,
		PrevID: c.PrevID, PrevStamp: c.PrevStamp, Records: c.Records,
	})
	return mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(c.Records)}, nil
}

// UnmarshalWire decodes a CopyRequest.
func (c *StorageCopy) UnmarshalWire(data mem.BufferSlice) error {
	var m session.Append
	err := fields(data.Materialize(), func(num protowire.Number, v value) error { return decodeAppendField(&m, num, v) })
	if err != nil {
		return fmt.Errorf("decode copy request of a server: %w", err)
	}
	*c = StorageCopy{
		Partition: m.Partition, Session: m.Session, Replica: m.Replica,
		PrevID: m.PrevID, PrevStamp: m.PrevStamp, Records: m.Records,
	}
	return nil
}

// StorageFrame is a storage's ReadResponse, on its way out or received. A received
// frame is a piece of memory of its own, which may be kept.
type StorageFrame struct{ Records record.Frame }

// MarshalWire encodes a ReadResponse.
func (f *StorageFrame) MarshalWire() (mem.BufferSlice, error) {
	return frameField([]record.Frame{f.Records}), nil
}

// UnmarshalWire decodes a ReadResponse.
func (f *StorageFrame) UnmarshalWire(data mem.BufferSlice) error {
	f.Records = nil
	err := fields(data.Materialize(), func(num protowire.Number, v value) error {
		if num != 1 {
			return nil
		}
		b, err := v.bytes()
		f.Records = record.Frame(b)
		return err
	})
	if err == nil && len(f.Records) == 0 {
		err = errors.New("it holds no records")
	}
	if err != nil {
		return fmt.Errorf("decode read response of a storage: %w", err)
	}
	return nil
}
