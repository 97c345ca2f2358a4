package wire

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

var errType = errors.New("field has another wire type than the contract says")

// value is one field's content: num for numbers, raw for bytes.
type value struct {
	typ protowire.Type
	num uint64
	raw []byte
}

func (v value) uint64() (uint64, error) {
	if v.typ != protowire.VarintType {
		return 0, errType
	}
	return v.num, nil
}

func (v value) fixed64() (uint64, error) {
	if v.typ != protowire.Fixed64Type {
		return 0, errType
	}
	return v.num, nil
}

func (v value) bytes() ([]byte, error) {
	if v.typ != protowire.BytesType {
		return nil, errType
	}
	return v.raw, nil
}

// fields calls each for every field of a message, in order. Unknown field
// numbers are the callee's to ignore. Values alias b.
func fields(b []byte, each func(protowire.Number, value) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		v := value{typ: typ}
		switch typ {
		case protowire.VarintType:
			v.num, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			v.num, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			v.raw, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := each(num, v); err != nil {
			return err
		}
	}
	return nil
}
