package record_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// reencode writes a decoded record again from its parts.
func reencode(r record.Record) []byte {
	if r.DataLeftOut {
		return record.AppendWithoutData(nil, &r)
	}
	locks := make([]txn.Lock, r.LockCount())
	for i := range locks {
		locks[i] = txn.Lock{Hash: r.Lock(i), Mode: txn.LockAppend}
	}
	return record.Append(nil, &r, locks)
}

// FuzzDecode: Decode never panics, never reads past its input, and what it
// accepts is exactly what Append would write.
func FuzzDecode(f *testing.F) {
	for _, b := range examples() {
		f.Add(b, false)
		f.Add(append(bytes.Clone(b), b...), true)
	}
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			mendChecksums(b)
		}
		r, n, err := record.Decode(b)
		if err != nil {
			require.True(t, record.IsCorrupt(err))
			require.Zero(t, n)
			return
		}
		require.LessOrEqual(t, n, len(b))
		require.Equal(t, b[:n], reencode(r))
	})
}

// FuzzFrame: what Check accepts, All and Trusted walk alike, in order and to the end.
func FuzzFrame(f *testing.F) {
	f.Add([]byte(encode(record.Record{ID: 1}, record.Record{ID: 2, Data: []byte("x")})), false)
	f.Add([]byte(encode(record.Record{ID: 1, Stamp: 3}, record.Record{ID: 2, Stamp: 4}, record.Record{ID: 3, Stamp: 4})), true)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			mendChecksums(b)
		}
		frame := record.Frame(b)
		span, err := frame.Check()
		if err != nil {
			require.True(t, record.IsCorrupt(err))
			for r, err := range frame.All() { // must end, whatever the bytes
				_, _ = r, err
			}
			return
		}
		next, count := span.First, 0
		trusted := make([]txn.ID, 0, span.Records)
		for r := range frame.Trusted() {
			trusted = append(trusted, r.ID)
		}
		for r, err := range frame.All() {
			require.NoError(t, err)
			require.Equal(t, next, r.ID)
			require.Equal(t, trusted[count], r.ID)
			require.Equal(t, span.Partition, r.Partition)
			next++
			count++
		}
		require.Equal(t, span.Last+1, next)
		require.Equal(t, span.Records, count)
		require.GreaterOrEqual(t, span.First, txn.ID(0))
	})
}

// mendChecksums makes the records of b pass their checksums where their
// lengths allow it, so that the fuzzer gets past them.
func mendChecksums(b []byte) {
	for len(b) >= record.HeaderSize {
		n := binary.LittleEndian.Uint32(b)
		if n < record.HeaderSize || uint64(n) > uint64(len(b)) {
			return
		}
		binary.LittleEndian.PutUint32(b[4:], record.Checksum(b[8:n]))
		b = b[n:]
	}
}
