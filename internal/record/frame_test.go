package record_test

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// encode puts records one behind the other.
func encode(recs ...record.Record) record.Frame {
	var f record.Frame
	for i := range recs {
		f = record.Append(f, &recs[i], nil)
	}
	return f
}

func drawFrame(t *rapid.T) ([]sample, record.Frame) {
	var (
		samples []sample
		frame   record.Frame
		first   = drawSample(t).rec
	)
	first.ID &= math.MaxInt32
	for i := range rapid.IntRange(1, 12).Draw(t, "records") {
		s := drawSample(t)
		s.rec.Partition, s.rec.ID = first.Partition, first.ID+txn.ID(i)
		s.rec.Stamp, s.rec.Time = first.Stamp/2+txn.SessionID(i/3), first.Time/2+txn.Timestamp(i/2)
		samples = append(samples, s)
		frame = record.Append(frame, &s.rec, s.locks)
	}
	return samples, frame
}

func TestFrameRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		samples, frame := drawFrame(t)
		span, err := frame.Check()
		require.NoError(t, err)
		first, last := samples[0].rec, samples[len(samples)-1].rec
		require.Equal(t, record.Span{
			Partition: first.Partition, First: first.ID, Last: last.ID,
			LastStamp: last.Stamp, LastTime: last.Time, Records: len(samples),
		}, span)

		i := 0
		for r, err := range frame.All() {
			require.NoError(t, err)
			requireRecord(t, samples[i], r)
			i++
		}
		require.Len(t, samples, i)

		i = 0
		for r := range frame.Trusted() {
			requireRecord(t, samples[i], r)
			i++
		}
		require.Len(t, samples, i)
		require.Equal(t, first.ID, frame.TrustedID())
		_, size, err := record.Decode(frame)
		require.NoError(t, err)
		require.Equal(t, size, frame.TrustedLen())
	})
}

func TestFrameRules(t *testing.T) {
	rec := func(p txn.Partition, id txn.ID, stamp txn.SessionID, at txn.Timestamp) record.Record {
		return record.Record{Partition: p, ID: id, Stamp: stamp, Time: at}
	}
	size := int64(record.HeaderSize)
	for _, c := range []struct {
		name   string
		frame  record.Frame
		offset int64
		reason string
	}{
		{"empty", nil, 0, "the frame is empty"},
		{"negative first ID", encode(rec(0, -1, 0, 0)), 0, "transaction ID -1 is negative"},
		{"other partition", encode(rec(1, 5, 1, 1), rec(2, 6, 1, 1)), size, "partition 2 in a frame of partition 1"},
		{"gap", encode(rec(1, 5, 1, 1), rec(1, 7, 1, 1)), size, "transaction 7 follows transaction 5"},
		{"twice", encode(rec(1, 5, 1, 1), rec(1, 6, 1, 1), rec(1, 6, 1, 1)), 2 * size, "transaction 6 follows transaction 6"},
		{"backwards", encode(rec(1, 5, 1, 1), rec(1, 4, 1, 1)), size, "transaction 4 follows transaction 5"},
		{"IDs run out", encode(rec(1, math.MaxInt64, 1, 1), rec(1, math.MinInt64, 1, 1)), size, "is negative"},
		{"stamp sinks", encode(rec(1, 5, 2, 1), rec(1, 6, 1, 1)), size, "stamp 1 follows stamp 2"},
		{"time sinks", encode(rec(1, 5, 1, 9), rec(1, 6, 1, 8)), size, "timestamp 8 follows timestamp 9"},
		{"cut", encode(rec(1, 5, 1, 1), rec(1, 6, 1, 1))[:size+20], size, "20 bytes are too few"},
		{"negative time first is fine, then sinks", encode(rec(1, 5, 1, -5), rec(1, 6, 1, -6)), size, "timestamp -6 follows timestamp -5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := c.frame.Check()
			var corrupt *record.CorruptError
			require.ErrorAs(t, err, &corrupt)
			require.Equal(t, c.offset, corrupt.Offset)
			require.Contains(t, corrupt.Reason, c.reason)
		})
	}
}

// What a feed leaves out is counted, so that who needs the data can refuse.
func TestFrameCountsWhatWasLeftOut(t *testing.T) {
	f := encode(record.Record{ID: 5, Data: []byte("data")}, record.Record{ID: 6})
	for id := txn.ID(7); id < 9; id++ {
		f = record.AppendWithoutData(f, &record.Record{ID: id, Key: []byte("key"), DataLen: 4})
	}
	span, err := f.Check()
	require.NoError(t, err)
	require.Equal(t, record.Span{First: 5, Last: 8, Records: 4, LeftOut: 2}, span)
}

// A flipped bit anywhere in a frame fails Check, and All serves nothing from
// the damaged record on.
func TestFrameFlippedBits(t *testing.T) {
	frame := encode(
		record.Record{Partition: 1, ID: 5, Data: []byte("first")},
		record.Record{Partition: 1, ID: 6, Data: []byte("second")},
		record.Record{Partition: 1, ID: 7, Data: []byte("third")},
	)
	starts := []int{0, record.HeaderSize + 5, 2*record.HeaderSize + 11}
	for i := range len(frame) * 8 {
		bad := slices.Clone(frame)
		bad[i/8] ^= 1 << (i % 8)
		_, err := bad.Check()
		require.True(t, record.IsCorrupt(err), "bit %d", i)

		hit, _ := slices.BinarySearch(starts, i/8+1)
		hit-- // the record that holds the bit
		served := 0
		for r, err := range bad.All() {
			if err != nil {
				var corrupt *record.CorruptError
				require.ErrorAs(t, err, &corrupt)
				require.Equal(t, int64(starts[hit]), corrupt.Offset)
				continue
			}
			require.Equal(t, txn.ID(5+served), r.ID)
			served++
		}
		require.Equal(t, hit, served, "bit %d", i)
	}
}

func TestWalksCanStop(t *testing.T) {
	frame := encode(record.Record{ID: 1}, record.Record{ID: 2}, record.Record{ID: 3})
	for r, err := range frame.All() {
		require.NoError(t, err)
		if r.ID == 2 {
			break
		}
	}
	for r := range frame.Trusted() {
		if r.ID == 2 {
			break
		}
	}
}

// Slices of a decoded record can't be appended into the next part of the frame.
func TestDecodedSlicesEndWhereTheyEnd(t *testing.T) {
	rec := record.Record{Key: []byte("key"), Data: []byte("data")}
	frame := record.Append(nil, &rec, []txn.Lock{{Hash: 1, Mode: txn.LockWrite}})
	frame = record.Append(frame, &record.Record{ID: 1}, nil)
	before := bytes.Clone(frame)
	for r := range record.Frame(frame).Trusted() {
		_ = append(r.Key, 'x')
		_ = append(r.Data, 'x')
	}
	require.Equal(t, before, frame)
}

func TestEnd(t *testing.T) {
	f := encode(record.Record{ID: 4, Stamp: 2}, record.Record{ID: 5, Stamp: 3, Data: []byte("last")})
	end, ok := f.End()
	require.True(t, ok)
	require.Equal(t, txn.ID(5), end.ID)
	require.Equal(t, txn.SessionID(3), end.Stamp)
	damaged := slices.Clone(f)
	damaged[len(f)-1] ^= 1
	for _, bad := range []record.Frame{nil, f[:len(f)-1], f[:10], damaged, make(record.Frame, 200)} {
		_, ok := bad.End()
		require.False(t, ok)
	}
}
