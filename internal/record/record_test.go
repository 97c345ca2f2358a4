package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// sample is one record's worth of input to Append.
type sample struct {
	rec   record.Record
	locks []txn.Lock
}

func (s sample) marks() []txn.LockHash {
	var out []txn.LockHash
	for _, l := range s.locks {
		if l.Mode.Marks() {
			out = append(out, l.Hash)
		}
	}
	return out
}

func drawSample(t *rapid.T) sample {
	s := sample{rec: record.Record{
		Partition: txn.Partition(rapid.Int32Min(0).Draw(t, "partition")),
		ID:        txn.ID(rapid.Int64Min(0).Draw(t, "id")),
		Stamp:     txn.SessionID(rapid.Int64Min(0).Draw(t, "stamp")),
		Time:      txn.Timestamp(rapid.Int64().Draw(t, "time")),
		Header:    txn.Header(rapid.Int32().Draw(t, "header")),
		Key:       rapid.SliceOfN(rapid.Byte(), 0, record.KeyMax).Draw(t, "key"),
		Data:      rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "data"),
	}}
	copy(s.rec.Request[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "request"))
	for range rapid.IntRange(0, 9).Draw(t, "locks") {
		s.locks = append(s.locks, txn.Lock{
			Hash: txn.LockHash(rapid.Uint64().Draw(t, "hash")),
			Mode: txn.LockMode(rapid.IntRange(1, 3).Draw(t, "mode")),
		})
	}
	return s
}

func requireRecord(t require.TestingT, want sample, got record.Record) {
	require.Equal(t, want.rec.Partition, got.Partition)
	require.Equal(t, want.rec.ID, got.ID)
	require.Equal(t, want.rec.Stamp, got.Stamp)
	require.Equal(t, want.rec.Time, got.Time)
	require.Equal(t, want.rec.Header, got.Header)
	require.Equal(t, want.rec.Request, got.Request)
	require.Equal(t, string(want.rec.Key), string(got.Key))
	require.Equal(t, string(want.rec.Data), string(got.Data))
	require.Equal(t, len(want.rec.Data), got.DataLen)
	require.False(t, got.DataLeftOut)
	marks := want.marks()
	require.Equal(t, len(marks), got.LockCount())
	for i, h := range marks {
		require.Equal(t, h, got.Lock(i))
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, prefix := drawSample(t), rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "prefix")
		b := record.Append(bytes.Clone(prefix), &s.rec, s.locks)
		require.Equal(t, prefix, b[:len(prefix)], "what stood before is kept")
		require.Len(t, b[len(prefix):], record.Size(len(s.marks()), len(s.rec.Key), len(s.rec.Data)))

		rest := append(b[len(prefix):], "more"...)
		got, n, err := record.Decode(rest)
		require.NoError(t, err)
		require.Equal(t, len(rest)-4, n)
		requireRecord(t, s, got)
	})
}

// A record's bytes lie on disks and travel: this drawing of the package
// comment never changes.
func TestFormatGolden(t *testing.T) {
	b := record.Append(nil, &record.Record{
		Partition: 3, ID: 0x0102030405060708, Stamp: 5, Time: 1709208855123456, Header: -2,
		Request: txn.RequestID{0xA0, 0xA1, 0xA2, 15: 0xAF}, Key: []byte("key"), Data: []byte("data"),
	}, []txn.Lock{{Hash: 0x11, Mode: txn.LockRead}, {Hash: 0x2223, Mode: txn.LockWrite}, {Hash: 0x33, Mode: txn.LockAppend}})
	require.Equal(t, ""+
		"57000000 926ca5e8 03000000 feffffff 0807060504030201 0500000000000000 0016a83284120600 "+
		"a0a1a200000000000000000000 0000af 04000000 0200 03 00 2322000000000000 3300000000000000 6b6579 64617461 ",
		drawing(b))
}

// drawing prints the bytes of a record with two locks in the parts that the package comment draws.
func drawing(b []byte) string {
	var out bytes.Buffer
	for _, n := range []int{4, 4, 4, 4, 8, 8, 8, 13, 3, 4, 2, 1, 1, 8, 8, 3, len(b)} {
		n = min(n, len(b))
		fmt.Fprintf(&out, "%x ", b[:n])
		b = b[n:]
	}
	return out.String()
}

// Every single flipped bit of a record is found: none is served, none changes
// what is read without an error.
func TestEveryFlippedBitIsFound(t *testing.T) {
	for name, b := range examples() {
		for i := range len(b) * 8 {
			bad := bytes.Clone(b)
			bad[i/8] ^= 1 << (i % 8)
			_, _, err := record.Decode(append(bad, make([]byte, 300)...)) // room, so that a longer length is possible
			require.Truef(t, record.IsCorrupt(err), "%s: bit %d of byte %d: %v", name, i%8, i/8, err)
		}
	}
}

func TestEveryOtherByteValueIsFound(t *testing.T) {
	for name, b := range examples() {
		for i := range b {
			bad := bytes.Clone(b)
			for v := range 256 {
				if bad[i] = byte(v); bad[i] == b[i] {
					continue
				}
				_, _, err := record.Decode(bad)
				require.Truef(t, record.IsCorrupt(err), "%s: byte %d = %d: %v", name, i, v, err)
			}
		}
	}
}

func TestEveryCutIsFound(t *testing.T) {
	for name, b := range examples() {
		for n := range b {
			_, _, err := record.Decode(b[:n])
			require.Truef(t, record.IsCorrupt(err), "%s: cut to %d of %d bytes: %v", name, n, len(b), err)
		}
	}
}

func examples() map[string][]byte {
	full := record.Record{Partition: 1, ID: 7, Stamp: 2, Time: 99, Header: 4, Request: txn.RequestID{1}, Key: []byte("k1"), Data: []byte("some data")}
	locks := []txn.Lock{{Hash: math.MaxUint64, Mode: txn.LockWrite}, {Hash: 1, Mode: txn.LockAppend}}
	whole := record.Append(nil, &full, locks)
	decoded, _, err := record.Decode(whole)
	if err != nil {
		panic(err)
	}
	return map[string][]byte{
		"whole":        whole,
		"bare":         record.Append(nil, &record.Record{}, nil),
		"without data": record.AppendWithoutData(nil, &decoded),
	}
}

// Zeros are what a file holds that was filled ahead: never a record.
func TestZerosAreNoRecord(t *testing.T) {
	_, _, err := record.Decode(make([]byte, 4096))
	require.True(t, record.IsCorrupt(err))
}

func TestAppendWithoutData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSample(t)
		whole, _, err := record.Decode(record.Append(nil, &s.rec, s.locks))
		require.NoError(t, err)
		b := record.AppendWithoutData([]byte("before"), &whole)
		require.Equal(t, "before", string(b[:6]))
		require.Len(t, b[6:], record.Size(0, len(s.rec.Key), 0))
		got, n, err := record.Decode(b[6:])
		require.NoError(t, err)
		require.Equal(t, len(b)-6, n)
		require.True(t, got.DataLeftOut)
		require.Empty(t, got.Data)
		require.Zero(t, got.LockCount())
		require.Equal(t, len(s.rec.Data), got.DataLen, "the length as committed stays")

		got.DataLeftOut, got.Data = false, s.rec.Data
		s.locks = nil
		requireRecord(t, s, got)

		again := record.AppendWithoutData(nil, &whole)
		second, _, err := record.Decode(again)
		require.NoError(t, err)
		require.Equal(t, again, record.AppendWithoutData(nil, &second), "leaving out twice is leaving out once")
	})
}

func TestLimitsFit(t *testing.T) {
	locks := make([]txn.Lock, record.LocksMax)
	for i := range locks {
		locks[i] = txn.Lock{Hash: txn.LockHash(i), Mode: txn.LockWrite}
	}
	s := sample{rec: record.Record{Key: bytes.Repeat([]byte("k"), record.KeyMax), Data: make([]byte, 1<<20)}, locks: locks}
	got, _, err := record.Decode(record.Append(nil, &s.rec, locks))
	require.NoError(t, err)
	requireRecord(t, s, got)
}

// What does not fit into the format is a bug of the caller; it is stopped
// before it becomes a record that nobody can read.
func TestAppendPanicsBeyondTheFormat(t *testing.T) {
	tooMany := make([]txn.Lock, record.LocksMax+1)
	for i := range tooMany {
		tooMany[i].Mode = txn.LockWrite
	}
	require.Panics(t, func() { record.Append(nil, &record.Record{Key: make([]byte, record.KeyMax+1)}, nil) })
	require.Panics(t, func() { record.Append(nil, &record.Record{}, tooMany) })
	require.Panics(t, func() { record.Append(nil, &record.Record{Data: make([]byte, record.DataMax+1)}, nil) })
}

// Locks never travel without data; only the canonical form of a record is read.
func TestLocksWithoutDataAreRefused(t *testing.T) {
	b := record.Append(nil, &record.Record{}, []txn.Lock{{Hash: 1, Mode: txn.LockWrite}})
	b[63] |= 1
	binary.LittleEndian.PutUint32(b[4:], record.Checksum(b[8:]))
	_, _, err := record.Decode(b)
	require.ErrorContains(t, err, "locks without data")
}

// A well-formed checksum is not enough: lengths and flags have to agree too.
func TestWellSummedNonsenseIsRefused(t *testing.T) {
	good := examples()["whole"]
	for name, spoil := range map[string]func(b []byte){
		"data length":   func(b []byte) { b[56]++ },
		"lock count":    func(b []byte) { b[60]++ },
		"key length":    func(b []byte) { b[62]-- },
		"unknown flag":  func(b []byte) { b[63] |= 0x80 },
		"data left out": func(b []byte) { b[63] |= 1 },
		"huge data":     func(b []byte) { binary.LittleEndian.PutUint32(b[56:], math.MaxUint32) },
	} {
		b := bytes.Clone(good)
		spoil(b)
		binary.LittleEndian.PutUint32(b[4:], record.Checksum(b[8:]))
		_, _, err := record.Decode(b)
		require.True(t, record.IsCorrupt(err), name)
	}
}

func TestCorruptionSurvivesWrapping(t *testing.T) {
	_, _, err := record.Decode(nil)
	require.True(t, record.IsCorrupt(fmt.Errorf("read segment: %w", err)))
	require.False(t, record.IsCorrupt(errors.New("other")))
	require.False(t, record.IsCorrupt(nil))
	require.EqualError(t, err, "corrupt record at offset 0: 0 bytes are too few for a record")
}
