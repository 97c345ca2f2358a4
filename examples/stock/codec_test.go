package main

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/waltz"
)

// compactDelivery is a codec of our own: two numbers, and nothing else.
type compactDelivery struct{}

func (compactDelivery) Encode(d Delivery) ([]byte, error) {
	return binary.AppendVarint(binary.AppendVarint(nil, d.Item), d.Quantity), nil
}

func (compactDelivery) Decode(data []byte, d *Delivery) error {
	item, n := binary.Varint(data)
	quantity, m := binary.Varint(data[max(n, 0):])
	if n <= 0 || m <= 0 || n+m != len(data) {
		return errors.New("delivery is malformed")
	}
	d.Item, d.Quantity = item, quantity
	return nil
}

// receivedCompact has a header of its own: what is in the log under 1 is JSON.
var receivedCompact = waltz.Kind[Delivery]{Header: 4, Name: "stock.received.compact", Codec: compactDelivery{}}

func TestCompactDelivery(t *testing.T) {
	want := Delivery{Item: 17, Quantity: 10}
	var tx waltz.Transaction
	require.NoError(t, receivedCompact.Put(&tx, want))
	got, err := receivedCompact.Decode(waltz.Committed{Header: tx.Header, Data: tx.Data})
	require.NoError(t, err)
	require.Equal(t, want, got.Value)
	for n := range tx.Data {
		_, err = receivedCompact.Decode(waltz.Committed{Header: tx.Header, Data: tx.Data[:n]})
		require.Error(t, err)
	}
}
