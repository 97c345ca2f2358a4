package segment

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/header"
)

// bench is a log on a file system in memory.
type bundle struct {
	fs  *vfs.Mem
	l   *Log
	odd []string
}

func newBundle(t require.TestingT, fsys *vfs.Mem, segmentBytes int64) *bundle {
	b := &bundle{fs: fsys}
	require.NoError(t, fsys.MkdirAll("/p"))
	require.NoError(t, fsys.SyncDir("/"))
	var err error
	b.l, err = Open(Config{
		FS: fsys, Dir: "/p", Cluster: "c", Partition: 4, Bytes: segmentBytes, Files: NewFiles(fsys, 4),
		Odd: func(file, why string) { b.odd = append(b.odd, path.Base(file)+": "+why) },
	})
	require.NoError(t, err)
	return b
}

func frame(first txn.ID, n, size int) record.Frame {
	var f record.Frame
	for i := range txn.ID(n) {
		f = record.Append(f, &record.Record{Partition: 4, ID: first + i, Stamp: 1, Time: txn.Timestamp(first+i) * 10, Data: make([]byte, size)}, nil)
	}
	return f
}

func (b *bundle) readAll(t require.TestingT, last txn.ID, bytesMax int) record.Frame {
	var all record.Frame
	for next := txn.ID(0); next <= last; {
		f, err := b.l.Read(next, last, bytesMax)
		require.NoError(t, err)
		span, err := f.Check()
		require.NoError(t, err)
		require.Equal(t, next, span.First)
		require.True(t, span.Records == 1 || len(f) <= bytesMax)
		all, next = append(all, f...), span.Last+1
	}
	return all
}

// Appends, cuts, kills and crashes, against a slice. What is in it up to the last
// Sync is there whatever happens; what is behind is written again.
func TestAgainstASlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBundle(t, vfs.NewMem(), int64(rapid.IntRange(1000, 20000).Draw(t, "segment")))
		require.NoError(t, b.l.Cut(txn.None))
		var want []record.Frame // one record each
		synced := 0             // of them
		for range rapid.IntRange(1, 25).Draw(t, "ops") {
			switch rapid.IntRange(0, 9).Draw(t, "op") {
			case 0:
				end := txn.ID(rapid.IntRange(-1, len(want)-1).Draw(t, "end"))
				require.NoError(t, b.l.Cut(end))
				want = want[:end+1]
				synced = min(synced, len(want))
			case 1:
				require.NoError(t, b.l.Sync())
				synced = len(want)
			case 2, 3:
				left := b.fs.Clone() // killed
				if rapid.Bool().Draw(t, "crash") {
					left = b.fs.CrashClone(rapid.Uint64().Draw(t, "seed"))
				}
				require.NoError(t, b.l.Close())
				b = newBundle(t, left, b.l.c.Bytes)
				want = want[:synced]
				require.NoError(t, b.l.Cut(txn.ID(synced-1)))
			default:
				f := frame(txn.ID(len(want)), rapid.IntRange(1, 10).Draw(t, "n"), rapid.IntRange(0, 3000).Draw(t, "size"))
				require.NoError(t, b.l.Append(f))
				require.NoError(t, b.l.Flush())
				for rest := f; len(rest) > 0; rest = rest[rest.TrustedLen():] {
					want = append(want, rest[:rest.TrustedLen()])
				}
			}
			require.Equal(t, txn.ID(len(want)-1), b.l.End())
		}
		last := txn.ID(len(want) - 1)
		require.Equal(t, string(bytes.Join(frames(want), nil)), string(b.readAll(t, last, rapid.IntRange(1, 9000).Draw(t, "max"))))
		for range 5 {
			ts := txn.Timestamp(rapid.IntRange(-5, len(want)*10+5).Draw(t, "time"))
			at, err := b.l.At(ts, last)
			require.NoError(t, err)
			require.Equal(t, max(0, min(last+1, txn.ID((ts+9)/10))), at)
		}
		records, _, err := b.l.Scrub(context.Background(), Pass{Last: last, Found: func(err error) { t.Fatal(err) }})
		require.NoError(t, err)
		require.EqualValues(t, len(want), records)
		require.Empty(t, b.odd)
		require.NoError(t, b.l.Close())
		b.l.c.Files.Close()
	})
}

func frames(all []record.Frame) [][]byte {
	var out [][]byte
	for _, f := range all {
		out = append(out, f)
	}
	return out
}

// filled has three segments of 20 records each.
func filled(t *testing.T) *bundle {
	t.Helper()
	b := newBundle(t, vfs.NewMem(), 10_100)
	require.NoError(t, b.l.Cut(txn.None))
	for first := txn.ID(0); first < 60; first += 5 {
		require.NoError(t, b.l.Append(frame(first, 5, 430)))
	}
	require.NoError(t, b.l.Flush())
	require.NoError(t, b.l.Sync())
	require.Len(t, b.l.Extents(), 3)
	t.Cleanup(func() {
		require.NoError(t, b.l.Close())
		b.l.c.Files.Close()
	})
	return b
}

func TestDamagedRecord(t *testing.T) {
	b := filled(t)
	size := int64(record.Size(0, 0, 430))
	require.NoError(t, b.fs.Flip("/p/"+segmentName(20), header.Size+5*size+100, 4)) // transaction 25
	for id := range txn.ID(60) {
		f, err := b.l.Read(id, id, 1)
		if err == nil {
			require.Equal(t, frame(id, 1, 430), f)
			continue
		}
		var d *damage.Error
		require.ErrorAs(t, err, &d)
		require.Equal(t, txn.ID(25), d.First)
		require.Equal(t, txn.ID(28), d.Last, "up to the next index entry")
		require.Equal(t, header.Size+5*size, d.Offset)
		require.True(t, id >= 25 && id <= 28, "%d", id)
	}
	f, err := b.l.Read(22, 40, 1<<20)
	require.NoError(t, err)
	require.Equal(t, frame(22, 3, 430), f, "what is before the damage is served")
	var found []error
	_, _, err = b.l.Scrub(context.Background(), Pass{Last: 59, Found: func(err error) { found = append(found, err) }})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Empty(t, b.odd)
}

// A damaged index is reported, done without, and rebuilt as it was.
func TestDamagedIndex(t *testing.T) {
	for _, first := range []txn.ID{0, 40} { // sealed, and being written
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			b := filled(t)
			name := "/p/" + indexName(first)
			before, err := b.fs.Bytes(name)
			require.NoError(t, err)
			for off := range before {
				b.odd = nil
				b.l.c.Files.drop(name)
				require.NoError(t, b.fs.Flip(name, int64(off), 1))
				require.Equal(t, frame(0, 60, 430), b.readAll(t, 59, 700))
				_, _, err := b.l.Scrub(context.Background(), Pass{Last: 59, Found: func(err error) { t.Error(err) }})
				require.NoError(t, err)
				require.NotEmpty(t, b.odd, "byte %d", off)
				require.NoError(t, b.l.Rebuild())
				after, err := b.fs.Bytes(name)
				require.NoError(t, err)
				require.Equal(t, before, after)
			}
			require.NoError(t, b.l.Append(frame(60, 3, 10)))
			require.NoError(t, b.l.Flush())
			require.Equal(t, frame(60, 3, 10), b.readAll(t, 62, 700)[len(frame(0, 60, 430)):])
		})
	}
}

func TestMissingSegment(t *testing.T) {
	b := filled(t)
	require.NoError(t, b.fs.Remove("/p/"+segmentName(20)))
	b.l.c.Files.drop("/p/" + segmentName(20))
	_, err := b.l.Read(30, 30, 1)
	var d *damage.Error
	require.ErrorAs(t, err, &d)
	require.Equal(t, [2]txn.ID{20, 39}, [2]txn.ID{d.First, d.Last})
}

// Segments that end before the journal's mark are damaged, kept, and gone on behind.
func TestCutBeyondTheEnd(t *testing.T) {
	b := filled(t)
	again := newBundle(t, b.fs, 10_100)
	err := again.l.Cut(70)
	var d *damage.Error
	require.ErrorAs(t, err, &d)
	require.Equal(t, [2]txn.ID{60, 70}, [2]txn.ID{d.First, d.Last})
	require.NoError(t, again.l.Append(frame(71, 2, 10)))
	require.NoError(t, again.l.Flush())
	f, err := again.l.Read(71, 72, 1<<20)
	require.NoError(t, err)
	require.Equal(t, frame(71, 2, 10), f)
	_, err = again.l.Read(59, 72, 1<<20)
	require.NoError(t, err)
	_, err = again.l.Read(60, 72, 1<<20)
	require.ErrorAs(t, err, &d)
	require.NoError(t, again.l.Close())
	again.l.c.Files.Close()
}

// A full disk changes nothing; the same records can be given again.
func TestFullDisk(t *testing.T) {
	b := filled(t)
	for extra := int64(0); extra < 30_000; extra += 1500 {
		end := b.l.End()
		b.fs.SetSpace(b.fs.Used() + extra)
		var err error
		for next := end + 1; next < end+60 && err == nil; next += 5 {
			if err = b.l.Append(frame(next, 5, 430)); err == nil && next%3 == 0 {
				err = b.l.Flush()
			}
		}
		if err == nil {
			err = b.l.Flush()
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		b.fs.SetSpace(-1)
		end = b.l.End()
		require.NoError(t, b.l.Append(frame(end+1, 3, 430)))
		require.NoError(t, b.l.Flush())
		require.Equal(t, frame(0, int(b.l.End())+1, 430), b.readAll(t, b.l.End(), 5000))
	}
	_, _, err := b.l.Scrub(context.Background(), Pass{Last: b.l.End(), Found: func(err error) { t.Error(err) }})
	require.NoError(t, err)
	require.Empty(t, b.odd)
}

// FuzzIndex: no index makes a read serve anything but what was written, or
// panic.
func FuzzIndex(f *testing.F) {
	f.Add(0, []byte{1, 2, 3})
	f.Add(header.Size+entrySize, appendEntry(nil, entry{id: 9, offset: 5000, time: 3}, 1))
	f.Add(header.Size, appendEntry(nil, entry{id: 7, offset: -5, time: 3}, 0))
	f.Fuzz(func(t *testing.T, off int, garbage []byte) {
		b := newBundle(t, vfs.NewMem(), 1<<20)
		require.NoError(t, b.l.Cut(txn.None))
		require.NoError(t, b.l.Append(frame(0, 30, 430)))
		require.NoError(t, b.l.Flush())
		require.NoError(t, b.l.Sync())
		x, err := b.fs.Open("/p/" + indexName(0))
		require.NoError(t, err)
		_, err = x.WriteAt(garbage, int64(uint16(off)%1000))
		require.NoError(t, err)
		require.NoError(t, x.Close())
		for id := range txn.ID(30) {
			got, err := b.l.Read(id, id, 1)
			if err == nil {
				require.Equal(t, frame(id, 1, 430), got)
			}
		}
		_, _ = b.l.At(100, 29)
		_, _, _ = b.l.Scrub(context.Background(), Pass{Last: 29, Found: func(error) {}})
		require.NoError(t, b.l.Rebuild())
		require.NoError(t, b.l.Close())
		again := newBundle(t, b.fs, 1<<20)
		if err := again.l.Cut(29); err == nil {
			require.Equal(t, frame(0, 30, 430), again.readAll(t, 29, 3000))
		}
		require.NoError(t, again.l.Close())
		b.l.c.Files.Close()
		again.l.c.Files.Close()
	})
}

// FuzzSegment: whatever lies in a segment, only what was written is served.
func FuzzSegment(f *testing.F) {
	f.Add(0, []byte{1, 2, 3})
	f.Add(header.Size, []byte{0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, off int, garbage []byte) {
		b := newBundle(t, vfs.NewMem(), 1<<20)
		require.NoError(t, b.l.Cut(txn.None))
		require.NoError(t, b.l.Append(frame(0, 30, 430)))
		require.NoError(t, b.l.Flush())
		s, err := b.fs.Open("/p/" + segmentName(0))
		require.NoError(t, err)
		_, err = s.WriteAt(garbage, int64(uint16(off)))
		require.NoError(t, err)
		require.NoError(t, s.Close())
		for id := range txn.ID(30) {
			if got, err := b.l.Read(id, 29, 1); err == nil {
				require.Equal(t, frame(id, 1, 430), got)
			} else {
				require.True(t, damage.Is(err))
			}
		}
		_, _, err = b.l.Scrub(context.Background(), Pass{Last: 29, Found: func(error) {}})
		require.NoError(t, err)
		require.NoError(t, b.l.Close())
		b.l.c.Files.Close()
	})
}
