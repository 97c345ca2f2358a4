package waltz

import (
	"encoding/json"
	"fmt"
)

// Codec turns values of T into transaction data and back.
type Codec[T any] interface {
	Encode(v T) ([]byte, error)
	Decode(data []byte, v *T) error
}

// JSON returns the codec of encoding/json.
func JSON[T any]() Codec[T] { return jsonCodec[T]{} }

type jsonCodec[T any] struct{}

func (jsonCodec[T]) Encode(v T) ([]byte, error)     { return json.Marshal(v) }
func (jsonCodec[T]) Decode(data []byte, v *T) error { return json.Unmarshal(data, v) }

// Kind declares one kind of transaction: its header, its name in logs and
// errors, and how its data is encoded. One declaration serves writer, reader,
// subscription filter and apply function.
type Kind[T any] struct {
	Header Header
	Name   string
	Codec  Codec[T]
}

// Putter is what Put fills: a txcontext.Builder, or a *Transaction.
type Putter interface {
	Put(header Header, data []byte)
}

// Put sets the header and data.
func (tx *Transaction) Put(header Header, data []byte) { tx.Header, tx.Data = header, data }

// Put encodes v into a transaction of this kind.
func (k Kind[T]) Put(to Putter, v T) error {
	data, err := k.Codec.Encode(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", k.Name, err)
	}
	to.Put(k.Header, data)
	return nil
}

// Record is a committed transaction with its decoded value.
type Record[T any] struct {
	Committed
	Value T
}

// Decode reads a committed transaction of this kind.
func (k Kind[T]) Decode(c Committed) (Record[T], error) {
	r := Record[T]{Committed: c}
	if c.Header != k.Header {
		return r, fmt.Errorf("decode partition %d transaction %d as %s: header is %d, want %d", c.Partition, c.ID, k.Name, c.Header, k.Header)
	}
	if err := k.Codec.Decode(c.Data, &r.Value); err != nil {
		return r, fmt.Errorf("decode partition %d transaction %d as %s: %w", c.Partition, c.ID, k.Name, err)
	}
	return r, nil
}
