package wire

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// Marshaler is a message that encodes itself in the contract's wire format. The
// returned buffers must not change after the call.
type Marshaler interface {
	MarshalWire() (mem.BufferSlice, error)
}

// Unmarshaler is a message that decodes itself. It may keep data by taking
// references to it, and must check everything: data comes from the network.
type Unmarshaler interface {
	UnmarshalWire(data mem.BufferSlice) error
}

// Codec returns gRPC's protobuf codec, except that this package's own messages
// encode and decode themselves. On the wire nothing tells the difference.
func Codec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name)} }

type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(Marshaler); ok {
		return m.MarshalWire()
	}
	return c.CodecV2.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(Unmarshaler); ok {
		return m.UnmarshalWire(data)
	}
	return c.CodecV2.Unmarshal(data, v)
}
