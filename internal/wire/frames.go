package wire

import (
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// Fed is a SubscribeResponse on its way out. Its frames, which follow each
// other, are sent from where they lie, without a copy; they must never change.
type Fed struct {
	Frames        []record.Frame
	HighWaterMark txn.ID // everything up to it is in Frames or was skipped
	Committed     txn.ID // the log's high-water mark
}

// MarshalWire encodes a SubscribeResponse.
func (f *Fed) MarshalWire() (mem.BufferSlice, error) {
	marks := make([]byte, 0, 24)
	marks = appendVarint(marks, 2, protowire.EncodeZigZag(int64(f.HighWaterMark)))
	marks = appendVarint(marks, 3, protowire.EncodeZigZag(int64(f.Committed)))
	return append(frameField(f.Frames), mem.SliceBuffer(marks)), nil
}

// Frames is a ReadResponse on its way out, sent like [Fed].
type Frames []record.Frame

// MarshalWire encodes a ReadResponse.
func (f Frames) MarshalWire() (mem.BufferSlice, error) { return frameField(f), nil }

// frameField encodes field 1, bytes, of several parts.
func frameField(frames []record.Frame) mem.BufferSlice {
	size := 0
	for _, f := range frames {
		size += len(f)
	}
	out := make(mem.BufferSlice, 0, len(frames)+2)
	if size == 0 {
		return out
	}
	head := protowire.AppendTag(make([]byte, 0, 8), 1, protowire.BytesType)
	out = append(out, mem.SliceBuffer(protowire.AppendVarint(head, uint64(size))))
	for _, f := range frames {
		if len(f) > 0 {
			out = append(out, mem.SliceBuffer(f))
		}
	}
	return out
}
