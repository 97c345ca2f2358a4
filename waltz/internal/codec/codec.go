// Package codec puts the messages of the hot paths on the wire and takes them
// off it by hand: a group of appends is the concatenation of bodies that were
// encoded when each was made, an answer is read into ranges that are reused, and
// the frame of a feed becomes one allocation that all its transactions share.
// It is the protobuf encoding of proto/clientpb, byte for byte a correct one;
// any other message goes through grpc's own codec.
package codec

import (
	"errors"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the fallback
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// errMalformed is returned for what is not protobuf of the expected shape.
var errMalformed = errors.New("malformed message")

// Codec implements gRPC's encoding.CodecV2 under the name of its protobuf codec.
type Codec struct{ Pool *Pool }

var _ encoding.CodecV2 = Codec{}

// Name returns the content subtype.
func (Codec) Name() string { return "proto" }

func fallback() encoding.CodecV2 { return encoding.GetCodecV2("proto") }

// Marshal encodes v. A [*Group] hands its buffer over.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	if g, ok := v.(*Group); ok {
		return g.take(), nil
	}
	return fallback().Marshal(v)
}

// Unmarshal decodes data into v.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *Answers:
		buf := data.MaterializeToBuffer(c.Pool)
		defer buf.Free()
		return m.decode(buf.ReadOnlyData())
	case *Chunk:
		return m.decode(data.Materialize())
	}
	return fallback().Unmarshal(data, v)
}

// field reads one field of a message: its number, and its value as a number or
// as bytes, whichever its type has.
func field(b []byte) (num protowire.Number, value uint64, bytes []byte, n int) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, 0, nil, n
	}
	var m int
	switch typ {
	case protowire.VarintType:
		value, m = protowire.ConsumeVarint(b[n:])
	case protowire.BytesType:
		bytes, m = protowire.ConsumeBytes(b[n:])
	case protowire.Fixed64Type:
		value, m = protowire.ConsumeFixed64(b[n:])
	default:
		m = protowire.ConsumeFieldValue(num, typ, b[n:])
	}
	if m < 0 {
		return 0, 0, nil, m
	}
	return num, value, bytes, n + m
}

// fields walks a message.
func fields(b []byte, f func(num protowire.Number, value uint64, bytes []byte) error) error {
	for len(b) > 0 {
		num, value, bytes, n := field(b)
		if n < 0 {
			return errMalformed
		}
		if err := f(num, value, bytes); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
