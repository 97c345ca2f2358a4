package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

const segmentDir = dataDir + "/partitions/000000/"

// whole is a storage with one replica, all of it in synced segments and committed:
// 40 records of three sessions in half a dozen segments.
type whole struct {
	fs   *vfs.Mem
	want record.Frame
	last txn.ID
}

func newWhole(t testing.TB) whole {
	t.Helper()
	fsys := vfs.NewMem()
	s := open(t, repairOptions(fsys))
	var w whole
	for number := range txn.SessionID(3) {
		m := join(t, s, 0, number+1)
		for range 6 {
			w.want = append(w.want, m.append(2, 600)...)
		}
		w.want = append(w.want, m.append(1, 10)...)
		w.last = m.last
	}
	// With the next journal file at hand Close leaves nothing to replay: then what is in
	// segments is nowhere else.
	require.Eventually(t, func() bool { return s.Stats().Journal.PreparedAhead }, time.Minute, time.Millisecond)
	require.NoError(t, s.Close())
	w.fs = fsys
	return w
}

func repairOptions(fsys vfs.FS) storage.Options {
	o := small(fsys)
	o.JournalFileBytes, o.SegmentBytes, o.FlushBytes = 16<<10, 4<<10, 4<<10
	return o
}

// segments returns the names of the segment files.
func (w whole) segments(t testing.TB, fsys *vfs.Mem) []string {
	t.Helper()
	var all []string
	for _, name := range allFiles(t, fsys, segmentDir) {
		if strings.HasSuffix(name, ".seg") {
			all = append(all, name)
		}
	}
	return all
}

// source is another replica that has all records; it counts those it is asked for.
func (w whole) source(asked *int) storage.Source {
	return func(_ context.Context, first, last txn.ID) (record.Frame, error) {
		var f record.Frame
		rest := w.want
		for rec := range w.want.Trusted() {
			n := rest.TrustedLen()
			if rec.ID >= first && rec.ID <= last && len(f) < 2000 {
				f = append(f, rest[:n]...)
				*asked++
			}
			rest = rest[n:]
		}
		return f, nil
	}
}

// damages are ways to harm the sample's segments.
var damages = []struct {
	name string
	harm func(t testing.TB, w whole, fsys *vfs.Mem)
}{
	{"a bit of a record in the middle", func(t testing.TB, w whole, fsys *vfs.Mem) {
		require.NoError(t, fsys.Flip(w.segments(t, fsys)[2], 1000, 4))
	}},
	{"a length", func(t testing.TB, w whole, fsys *vfs.Mem) {
		require.NoError(t, fsys.Flip(w.segments(t, fsys)[2], 128+2, 4))
	}},
	{"a header", func(t testing.TB, w whole, fsys *vfs.Mem) {
		require.NoError(t, fsys.Flip(w.segments(t, fsys)[1], 20, 1))
	}},
	{"the last record", func(t testing.TB, w whole, fsys *vfs.Mem) {
		all := w.segments(t, fsys)
		b, err := fsys.Bytes(all[len(all)-1])
		require.NoError(t, err)
		require.NoError(t, fsys.Flip(all[len(all)-1], int64(len(b)-1), 1))
	}},
	{"a record and the index beside it", func(t testing.TB, w whole, fsys *vfs.Mem) {
		name := w.segments(t, fsys)[1]
		require.NoError(t, fsys.Flip(name, 1000, 4))
		require.NoError(t, fsys.Flip(strings.TrimSuffix(name, ".seg")+".idx", 140, 4))
	}},
	{"one record in each segment", func(t testing.TB, w whole, fsys *vfs.Mem) {
		for i, name := range w.segments(t, fsys) {
			require.NoError(t, fsys.Flip(name, int64(200+100*i), 1))
		}
	}},
	{"the end of a file", func(t testing.TB, w whole, fsys *vfs.Mem) {
		f, err := fsys.Open(w.segments(t, fsys)[2])
		require.NoError(t, err)
		require.NoError(t, f.Truncate(1500))
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}},
	{"a missing file", func(t testing.TB, w whole, fsys *vfs.Mem) {
		removeDurably(t, fsys, w.segments(t, fsys)[3])
	}},
	{"the first file missing", func(t testing.TB, w whole, fsys *vfs.Mem) {
		removeDurably(t, fsys, w.segments(t, fsys)[0])
	}},
	{"the last two files missing", func(t testing.TB, w whole, fsys *vfs.Mem) {
		all := w.segments(t, fsys)
		removeDurably(t, fsys, all[len(all)-2:]...)
	}},
	{"all files missing", func(t testing.TB, w whole, fsys *vfs.Mem) {
		removeDurably(t, fsys, w.segments(t, fsys)...)
	}},
}

func removeDurably(t testing.TB, fsys *vfs.Mem, names ...string) {
	t.Helper()
	for _, name := range names {
		require.NoError(t, fsys.Remove(name))
		require.NoError(t, fsys.SyncDir(path.Dir(name)))
	}
}

// requireServed wants the whole log and no damage.
func requireServed(t testing.TB, s *storage.Storage, w whole) {
	t.Helper()
	require.Equal(t, string(w.want), string(readAll(t, s, 0, 3000)))
	report, err := s.Scrub(context.Background())
	require.NoError(t, err)
	for _, d := range report.Damage {
		require.Less(t, d.Last, d.First, "%v", d) // an index at most
	}
}

// Whatever is damaged in segments is repaired from another replica: what is served
// afterwards is what was written, of what could be read nothing was fetched, and
// new records go on behind it, also after a restart.
func TestRepair(t *testing.T) {
	w := newWhole(t)
	for _, c := range damages {
		t.Run(c.name, func(t *testing.T) {
			fsys := w.fs.Clone()
			c.harm(t, w, fsys)
			s := open(t, repairOptions(fsys))
			report, err := s.Scrub(context.Background())
			require.NoError(t, err)
			require.NotEmpty(t, report.Damage)
			asked := 0
			done, err := s.Repair(context.Background(), storage.Repair{Committed: w.last}, w.source(&asked))
			require.NoError(t, err)
			require.Empty(t, done.Left)
			require.EqualValues(t, asked, done.Records)
			require.Positive(t, done.Segments)
			requireServed(t, s, w)
			m := join(t, s, 0, 9)
			more := append(bytes.Clone(w.want), m.append(3, 500)...)
			for range 2 {
				require.Equal(t, string(more), string(readAll(t, s, 0, 3000)))
				require.NoError(t, s.Close())
				s = open(t, repairOptions(fsys))
			}
			require.NoError(t, s.Close())
		})
	}
}

// Of single flipped bits every one is repaired: what lies on the disk then is, byte
// for byte, what lay there before.
func TestRepairOfEveryByte(t *testing.T) {
	w := newWhole(t)
	for _, name := range w.segments(t, w.fs) {
		before, err := w.fs.Bytes(name)
		require.NoError(t, err)
		for off := range before {
			if off%37 != 0 && !soak() {
				continue
			}
			fsys := w.fs.Clone()
			require.NoError(t, fsys.Flip(name, int64(off), 1<<(off%8)))
			s := open(t, repairOptions(fsys))
			_, err := s.Scrub(context.Background())
			require.NoError(t, err)
			asked := 0
			done, err := s.Repair(context.Background(), storage.Repair{Committed: w.last}, w.source(&asked))
			require.NoError(t, err)
			require.Empty(t, done.Left)
			require.NoError(t, s.Close())
			after, err := fsys.Bytes(name)
			require.NoError(t, err)
			require.True(t, bytes.Equal(before, after), "%s at %d", name, off)
		}
	}
}

// The machine stops, or the process is killed, before every single call that
// changes the disk during a repair. What is found then serves no record but what
// was written, has no damage but what was there before, and is repaired by another
// try; and so is what a crash leaves of that.
func TestRepairCrashedAtEveryStep(t *testing.T) {
	w := newWhole(t)
	for _, c := range damages {
		t.Run(c.name, func(t *testing.T) {
			harmed := w.fs.Clone()
			c.harm(t, w, harmed)
			broken := brokenIDs(t, w, harmed.Clone())
			images := crashes(harmed, func(fsys vfs.FS) {
				s := open(t, repairOptions(fsys))
				asked := 0
				_, err := s.Scrub(context.Background())
				require.NoError(t, err)
				_, err = s.Repair(context.Background(), storage.Repair{Committed: w.last}, w.source(&asked))
				require.NoError(t, err)
				require.NoError(t, s.Close())
			})
			t.Logf("%d images", len(images))
			for i, image := range images {
				checkHalfRepaired(t, w, image, broken, fmt.Sprintf("image %d", i))
			}
		})
	}
}

// crashes does something on a disk and returns what a crash or a kill before each
// step of it leaves, and what is there at the end.
func crashes(from *vfs.Mem, do func(vfs.FS)) []*vfs.Mem {
	disk := &stepFS{Mem: from.Clone()}
	var mu sync.Mutex
	var images []*vfs.Mem
	disk.watch(func(vfs.Op, string) {
		mu.Lock()
		defer mu.Unlock()
		seed := uint64(len(images))
		images = append(images, disk.Clone(), disk.CrashClone(seed), disk.CrashClone(seed+1))
	})
	do(disk)
	disk.watch(nil)
	return append(images, disk.CrashClone(1))
}

// brokenIDs returns the records that can't be read.
func brokenIDs(t testing.TB, w whole, fsys *vfs.Mem) map[txn.ID]bool {
	t.Helper()
	s := open(t, repairOptions(fsys))
	all := map[txn.ID]bool{}
	for id := range w.last + 1 {
		_, err := s.Read(context.Background(), 0, id, id, 1)
		all[id] = err != nil
	}
	require.NoError(t, s.Close())
	return all
}

func checkHalfRepaired(t testing.TB, w whole, fsys *vfs.Mem, broken map[txn.ID]bool, name string) {
	t.Helper()
	s := open(t, repairOptions(fsys))
	rest := w.want
	for rec := range w.want.Trusted() {
		n := rest.TrustedLen()
		f, err := s.Read(context.Background(), 0, rec.ID, rec.ID, 1)
		if err == nil {
			require.Equal(t, string(rest[:n]), string(f), name)
		} else {
			require.True(t, broken[rec.ID], "%s: %v", name, err)
		}
		rest = rest[n:]
	}
	_, err := s.Scrub(context.Background())
	require.NoError(t, err, name)
	asked := 0
	done, err := s.Repair(context.Background(), storage.Repair{Committed: w.last}, w.source(&asked))
	require.NoError(t, err, name)
	require.Empty(t, done.Left, name)
	requireServed(t, s, w)
	for _, file := range allFiles(t, fsys, segmentDir) {
		require.False(t, strings.HasSuffix(file, ".repair"), "%s: %s is left", name, file)
	}
	require.NoError(t, s.Close(), name)
}

// A source that has something else is refused, whatever it is, and nothing is
// changed by it.
func TestRepairFromAWrongSource(t *testing.T) {
	w := newWhole(t)
	fsys := w.fs.Clone()
	damages[0].harm(t, w, fsys)
	s := open(t, repairOptions(fsys))
	defer func() { require.NoError(t, s.Close()) }()
	_, err := s.Scrub(context.Background())
	require.NoError(t, err)
	damage := s.Damage()
	before, err := fsys.Bytes(w.segments(t, fsys)[2])
	require.NoError(t, err)
	asked := 0
	right := w.source(&asked)
	change := func(change func(*record.Record)) storage.Source {
		return func(ctx context.Context, first, last txn.ID) (record.Frame, error) {
			var f record.Frame
			right, err := right(ctx, first, last)
			for rec := range right.Trusted() {
				change(&rec)
				f = record.Append(f, &rec, nil)
			}
			return f, err
		}
	}
	gone := errors.New("gone")
	for _, c := range []struct {
		name string
		from storage.Source
		want error
	}{
		{"of another session", change(func(r *record.Record) { r.Stamp++ }), storage.ErrOtherRecords},
		{"of an earlier session", change(func(r *record.Record) { r.Stamp-- }), storage.ErrOtherRecords},
		{"other IDs", change(func(r *record.Record) { r.ID++ }), storage.ErrOtherRecords},
		{"of another partition", change(func(r *record.Record) { r.Partition++ }), storage.ErrOtherRecords},
		{"without data", func(ctx context.Context, first, last txn.ID) (record.Frame, error) {
			var f record.Frame
			right, err := right(ctx, first, last)
			for rec := range right.Trusted() {
				f = record.AppendWithoutData(f, &rec)
			}
			return f, err
		}, storage.ErrWithoutData},
		{"damaged itself", func(ctx context.Context, first, last txn.ID) (record.Frame, error) {
			f, err := right(ctx, first, last)
			f[len(f)-1] ^= 1
			return f, err
		}, nil},
		{"nothing", func(context.Context, txn.ID, txn.ID) (record.Frame, error) { return nil, nil }, nil},
		{"failing", func(context.Context, txn.ID, txn.ID) (record.Frame, error) { return nil, gone }, gone},
		{"none", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			done, err := s.Repair(context.Background(), storage.Repair{}, c.from)
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			require.NotEmpty(t, done.Left)
			require.Equal(t, damage, s.Damage())
			after, err := fsys.Bytes(w.segments(t, fsys)[2])
			require.NoError(t, err)
			require.Equal(t, before, after)
			require.NoError(t, s.Err())
		})
	}
	_, err = s.Repair(context.Background(), storage.Repair{}, right)
	require.NoError(t, err)
	requireServed(t, s, w)
}

// What is not known to be committed is not repaired, but by a caller who knows.
func TestRepairOfWhatIsNotCommitted(t *testing.T) {
	w := newWhole(t)
	fsys := w.fs.Clone()
	all := w.segments(t, fsys)
	require.NoError(t, fsys.Flip(all[0], 1000, 1))
	last, err := fsys.Bytes(all[len(all)-1])
	require.NoError(t, err)
	require.NoError(t, fsys.Flip(all[len(all)-1], int64(len(last)-1), 1))
	s := open(t, repairOptions(fsys))
	state, err := s.State(0)
	require.NoError(t, err)
	require.Less(t, state.Committed, w.last, "the last record is not known to be committed")
	_, err = s.Scrub(context.Background())
	require.NoError(t, err)
	asked := 0
	done, err := s.Repair(context.Background(), storage.Repair{}, w.source(&asked))
	require.ErrorIs(t, err, storage.ErrNotCommitted)
	require.Len(t, done.Left, 1)
	require.Equal(t, w.last, done.Left[0].Last)
	require.Equal(t, 1, done.Segments, "the other one is repaired all the same")
	_, err = s.Repair(context.Background(), storage.Repair{Committed: w.last}, w.source(&asked))
	require.NoError(t, err)
	requireServed(t, s, w)
	require.NoError(t, s.Close())
}

// Damage outlives restarts, kills and crashes from when it was found; and so does
// its repair.
func TestDamageIsRemembered(t *testing.T) {
	w := newWhole(t)
	fsys := w.fs.Clone()
	s := open(t, repairOptions(fsys))
	name := w.segments(t, fsys)[2]
	require.NoError(t, fsys.Flip(name, 1000, 4))
	_, err := s.Scrub(context.Background())
	require.NoError(t, err)
	damage := s.Damage()
	require.Len(t, damage, 1)
	_, err = s.CreateReplica(context.Background(), 1) // all before it is in the journal
	require.NoError(t, err)
	left := fsys.CrashClone(1)
	require.NoError(t, s.Close())
	require.NoError(t, left.Flip(name, 1000, 4)) // back again: only the journal knows
	s = open(t, repairOptions(left))
	require.Equal(t, damage, s.Damage())
	done, err := s.Repair(context.Background(), storage.Repair{}, nil)
	require.NoError(t, err)
	require.Zero(t, done.Records)
	require.Empty(t, s.Damage())
	again := left.CrashClone(1)
	require.NoError(t, s.Close())
	s = open(t, repairOptions(again))
	require.Empty(t, s.Damage())
	requireServed(t, s, w)
	require.NoError(t, s.Close())
}

// Appends, reads, truncations and checkpoints go on while damage is repaired.
func TestRepairBesideEverythingElse(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWhole(t)
		fsys := w.fs.Clone()
		damages[rapid.IntRange(0, len(damages)-1).Draw(rt, "damage")].harm(t, w, fsys)
		s := open(t, repairOptions(fsys))
		_, err := s.Scrub(context.Background())
		require.NoError(rt, err)
		m := join(t, s, 0, 8)
		more := rapid.IntRange(0, 10).Draw(rt, "frames before")
		want := bytes.Clone(w.want)
		for range more {
			want = append(want, m.append(1, 700)...)
		}
		var wg sync.WaitGroup
		asked := 0
		started := make(chan struct{})
		start := sync.OnceFunc(func() { close(started) })
		source := func(ctx context.Context, first, last txn.ID) (record.Frame, error) {
			start()
			return w.source(&asked)(ctx, first, last)
		}
		wg.Go(func() {
			defer start()
			_, err := s.Repair(context.Background(), storage.Repair{Committed: w.last}, source)
			if err != nil {
				t.Error(err)
			}
		})
		<-started
		if rapid.Bool().Draw(rt, "truncate") { // what was appended before, but for what is committed
			ctx := context.Background()
			pr, err := s.Open(ctx, session.Open{Session: 9})
			require.NoError(rt, err)
			require.NoError(rt, s.Truncate(ctx, session.Truncate{Session: 9, Replica: pr.Replica, Last: max(pr.Committed, w.last)}))
			require.NoError(rt, s.Install(ctx, session.Install{Session: 9, Replica: pr.Replica, Last: max(pr.Committed, w.last)}))
			last := max(pr.Committed, w.last)
			want = cutAbove(want, last)
			m = &member{t: t, s: s, self: pr.Replica, session: 9, last: last, stamp: session.Map(pr.Map).StampAt(last), commit: pr.Committed}
		}
		for range rapid.IntRange(0, 20).Draw(rt, "frames beside") {
			want = append(want, m.append(1, 700)...)
		}
		wg.Wait()
		require.Equal(rt, string(want), string(readAll(t, s, 0, 3000)))
		require.NoError(rt, s.Close())
		s = open(t, repairOptions(fsys))
		require.Empty(rt, s.Damage())
		require.Equal(rt, string(want), string(readAll(t, s, 0, 3000)))
		require.NoError(rt, s.Close())
	})
}

func cutAbove(f record.Frame, last txn.ID) record.Frame {
	end := 0
	for end < len(f) && f[end:].TrustedID() <= last {
		end += f[end:].TrustedLen()
	}
	return f[:end:end]
}

// A full disk refuses a repair and leaves nothing behind; it works when there is
// room.
func TestRepairOnAFullDisk(t *testing.T) {
	w := newWhole(t)
	for room := int64(0); room < 6000; room += 500 {
		fsys := w.fs.Clone()
		damages[0].harm(t, w, fsys)
		s := open(t, repairOptions(fsys))
		_, err := s.Scrub(context.Background())
		require.NoError(t, err)
		_, err = s.CreateReplica(context.Background(), 1) // the journal has what it needs
		require.NoError(t, err)
		require.Eventually(t, func() bool { return s.Stats().Journal.PreparedAhead }, time.Minute, time.Millisecond)
		used := fsys.Used()
		fsys.SetSpace(used + room)
		asked := 0
		_, err = s.Repair(context.Background(), storage.Repair{Committed: w.last}, w.source(&asked))
		if err != nil {
			require.ErrorIs(t, err, storage.ErrFull)
			require.NoError(t, s.Err())
			for _, file := range allFiles(t, fsys, segmentDir) {
				require.False(t, strings.HasSuffix(file, ".repair"), file)
			}
		}
		fsys.SetSpace(-1)
		_, err = s.Repair(context.Background(), storage.Repair{Committed: w.last}, w.source(&asked))
		require.NoError(t, err)
		requireServed(t, s, w)
		require.NoError(t, s.Close())
	}
}
