package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/header"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// list collects what a replay tells.
type list struct {
	entries []string
	trouble []string
}

func (l *list) Entry(e Entry, _ Place, opens bool) error {
	if e.Kind != State || !opens {
		l.entries = append(l.entries, show(e))
	}
	return nil
}

func (l *list) Lost(e Entry, at Place, why string) {
	l.trouble = append(l.trouble, fmt.Sprintf("lost %s %d-%d in %d: %s", e.Kind, e.First, e.Last, at.File, why))
}

func (l *list) Gap(at Place, why string) {
	l.trouble = append(l.trouble, fmt.Sprintf("gap in %d: %s", at.File, why))
}

func (l *list) Odd(at Place, why string) {
	l.trouble = append(l.trouble, fmt.Sprintf("odd in %d: %s", at.File, why))
}

func show(e Entry) string {
	return fmt.Sprintf("%s p%d %d-%d s%d c%d %x", e.Kind, e.Partition, e.First, e.Last, e.Session, e.Committed, record.Checksum(e.Body))
}

func config(t *testing.T, fsys vfs.FS) Config {
	return Config{
		FS: fsys, Dir: "/j", Cluster: "c", FileBytes: 8 * Block, FilesMax: 4, Retry: time.Millisecond, Logger: slog.New(slog.DiscardHandler),
		Snapshot: func(g *Group) { g.Add(Entry{Kind: State, Partition: 1, Body: StateBody([]byte("state"))}) },
		Full:     func(error) {}, Failed: func(err error) { t.Error(err) },
	}
}

func start(t *testing.T, fsys vfs.FS) (*Writer, *list) {
	t.Helper()
	l := &list{}
	found, err := Replay(fsys, "/j", "c", l)
	require.NoError(t, err)
	w, err := Start(config(t, fsys), found)
	require.NoError(t, err)
	return w, l
}

func newDir(t *testing.T) *vfs.Mem {
	t.Helper()
	fsys := vfs.NewMem()
	require.NoError(t, fsys.MkdirAll("/j"))
	require.NoError(t, fsys.SyncDir("/"))
	return fsys
}

func promise(n int) Entry { return Entry{Kind: Promise, Partition: 3, Session: txn.SessionID(n)} }

func commit(t *testing.T, w *Writer, entries ...Entry) []string {
	t.Helper()
	g := NewGroup(0)
	var all []string
	for _, e := range entries {
		g.Add(e)
		all = append(all, show(e))
	}
	require.NoError(t, w.Commit(g))
	return all
}

func TestGroupRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGroup(0)
		var want []Entry
		for range rapid.IntRange(1, 20).Draw(t, "entries") {
			e := Entry{
				Kind: Kind(rapid.IntRange(1, 6).Draw(t, "kind")), Partition: txn.Partition(rapid.Int32Min(0).Draw(t, "partition")),
				First: txn.ID(rapid.Int64().Draw(t, "first")), Last: txn.ID(rapid.Int64().Draw(t, "last")),
				Session: txn.SessionID(rapid.Int64().Draw(t, "session")), Committed: txn.ID(rapid.Int64().Draw(t, "committed")),
				Body: rapid.SliceOfN(rapid.Byte(), 0, 3000).Draw(t, "body"),
			}
			off := g.Add(e)
			require.Equal(t, e.Body, append([]byte{}, g.Body(off, len(e.Body))...))
			want = append(want, e)
		}
		at := place{file: 7, offset: 3 * Block, seq: 99}
		b := g.seal(at)
		require.Zero(t, len(b)%Block)
		h, ok := readHead(b)
		require.True(t, ok)
		require.True(t, h.whole(b))
		require.True(t, h.belongs(at))
		for _, other := range []place{{6, 3 * Block, 99}, {7, 4 * Block, 99}, {7, 3 * Block, 100}} {
			require.False(t, h.belongs(other))
		}
		off := groupHeader
		for _, e := range want {
			got, n, err := readEntry(b[off:])
			require.NoError(t, err)
			require.Equal(t, show(e), show(got))
			off += n
		}
		require.Equal(t, len(want), h.count)
	})
}

func TestReplayAcrossFilesAndRestarts(t *testing.T) {
	fsys := newDir(t)
	var want []string
	for restart := range 5 {
		l := &list{}
		found, err := Replay(fsys, "/j", "c", l)
		require.NoError(t, err)
		require.Empty(t, l.trouble)
		require.Equal(t, want, l.entries)
		c := config(t, fsys)
		c.FilesMax = 1000
		w, err := Start(c, found)
		require.NoError(t, err)
		for i := range 12 {
			want = append(want, commit(t, w, promise(restart), Entry{Kind: Flushed, Last: txn.ID(i), Body: make([]byte, i*700)})...)
		}
		require.NoError(t, w.Close())
	}
}

// What Free gave up is not replayed, and nothing else is missing.
func TestFree(t *testing.T) {
	fsys := newDir(t)
	w, _ := start(t, fsys)
	commit(t, w, promise(1))
	require.NoError(t, w.Roll())
	want := commit(t, w, promise(2))
	w.Free(w.Current())
	require.NoError(t, w.Close())
	w, l := start(t, fsys)
	require.NoError(t, w.Close())
	require.Equal(t, want, l.entries)
	require.Empty(t, l.trouble)
}

// A torn last group is passed over; a damaged one is told of.
func TestTornOrDamaged(t *testing.T) {
	for _, c := range []struct {
		name    string
		group   int  // which of three groups is hit
		mark    bool // the mark is as it was
		trouble int
		entries int
	}{
		{"last, mark whole", 2, true, 1, 2},
		{"last, mark lost", 2, false, 0, 2},
		{"middle, mark whole", 1, true, 1, 2},
		{"middle, mark lost", 1, false, 1, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := newDir(t)
			w, _ := start(t, fsys)
			var want []string
			for i := range 3 {
				want = append(want, commit(t, w, promise(i))...)
			}
			left := fsys.Clone()
			require.NoError(t, w.Close())
			name := path.Join("/j", FileName(1))
			at := int64((2 + c.group) * Block)
			require.NoError(t, left.Flip(name, at+4, 1)) // the group's header
			if !c.mark {
				require.NoError(t, left.Remove(path.Join("/j", MarkName)))
			}
			l := &list{}
			found, err := Replay(left, "/j", "c", l)
			require.NoError(t, err)
			require.Len(t, l.trouble, c.trouble)
			require.Len(t, l.entries, c.entries)
			require.Equal(t, c.trouble > 0, found.Damaged[1])
			require.Equal(t, want[0], l.entries[0])
		})
	}
}

// In a damaged group with a whole header, entries are saved one by one.
func TestSalvage(t *testing.T) {
	fsys := newDir(t)
	w, _ := start(t, fsys)
	frame := record.Append(nil, &record.Record{Partition: 3, ID: 5, Data: make([]byte, 100)}, nil)
	want := commit(t, w, promise(1), Entry{Kind: Records, Partition: 3, First: 5, Last: 5, Body: frame}, promise(2))
	left := fsys.Clone()
	require.NoError(t, w.Close())
	name := path.Join("/j", FileName(1))
	body := int64(2*Block + groupHeader + 2*entryHeader)
	require.NoError(t, left.Flip(name, body+80, 1))
	l := &list{}
	_, err := Replay(left, "/j", "c", l)
	require.NoError(t, err)
	require.Equal(t, []string{want[0], want[2]}, l.entries)
	require.Len(t, l.trouble, 2)
	require.Contains(t, l.trouble[1], "lost records 5-5 in 1")
}

func TestMissingFileIsAGap(t *testing.T) {
	fsys := newDir(t)
	w, _ := start(t, fsys)
	for range 3 {
		commit(t, w, promise(1))
		require.NoError(t, w.Roll())
	}
	left := fsys.Clone()
	require.NoError(t, w.Close())
	require.NoError(t, left.Remove(path.Join("/j", FileName(2))))
	l := &list{}
	_, err := Replay(left, "/j", "c", l)
	require.NoError(t, err)
	require.NotEmpty(t, l.trouble)
	require.Contains(t, l.trouble[0], "gap in 2")
}

func TestOtherClusterAndLostMark(t *testing.T) {
	fsys := newDir(t)
	w, _ := start(t, fsys)
	commit(t, w, promise(1))
	require.NoError(t, w.Close())
	_, err := Replay(fsys, "/j", "d", &list{})
	require.ErrorIs(t, err, header.ErrOtherCluster)
	require.NoError(t, fsys.Flip(path.Join("/j", MarkName), 9, 1))
	l := &list{}
	_, err = Replay(fsys, "/j", "c", l)
	require.NoError(t, err)
	require.Equal(t, []string{"odd in 0: the mark of what was synced is damaged"}, l.trouble)
}

// Files are used again, and there is always one ahead.
func TestFilesAreRecycled(t *testing.T) {
	fsys := newDir(t)
	w, _ := start(t, fsys)
	for range 40 {
		commit(t, w, promise(1), Entry{Kind: Flushed, Body: make([]byte, 3*Block)})
		w.Free(w.Current())
	}
	st := w.Stats()
	// A file is zeroed where the next one was wanted before one was free, and then one
	// is free too many: how often is the scheduler's choice.
	require.Greater(t, st.FilesRecycled, st.FilesZeroed)
	require.Equal(t, st.Groups, st.Datasyncs)
	require.NoError(t, w.Close())
	names, err := fsys.List("/j")
	require.NoError(t, err)
	require.LessOrEqual(t, len(names), 5)
}

// Too many files that wait for a checkpoint make the writer wait; Interrupt ends that.
func TestWriterWaitsForCheckpoint(t *testing.T) {
	fsys := newDir(t)
	w, _ := start(t, fsys)
	done := make(chan error, 1)
	go func() {
		for {
			if err := w.Roll(); err != nil {
				done <- err
				return
			}
		}
	}()
	require.Eventually(t, func() bool { return w.Stats().Files >= 4 && !w.Prepared() }, time.Minute, time.Millisecond)
	w.Free(w.Current())
	require.Eventually(t, func() bool { return w.Current() > 5 }, time.Minute, time.Millisecond)
	w.Interrupt()
	require.Error(t, <-done)
	require.NoError(t, w.Close())
}

func FuzzGroup(f *testing.F) {
	g := NewGroup(0)
	g.Add(promise(1))
	g.Add(Entry{Kind: State, Body: StateBody([]byte("x"))})
	f.Add(g.seal(place{file: 1, offset: Block, seq: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := readHead(b)
		if ok && h.length <= len(b) && h.whole(b[:h.length]) {
			for off, i := groupHeader, 0; i < h.count; i++ {
				e, n, err := readEntry(b[off:h.length])
				if err != nil {
					return
				}
				require.Equal(t, n, entryHeader+len(e.Body))
				off += n
			}
		}
		_, _, _ = readEntry(b)
		_, _ = decodeMark(b)
	})
}

// FuzzReplay: whatever a journal file holds, replay ends without panic, and what
// it tells is what was written, in order.
func FuzzReplay(f *testing.F) {
	f.Add(int64(Block), []byte{1, 2, 3}, true)
	f.Add(int64(2*Block+8), []byte{0xff}, false)
	f.Fuzz(func(t *testing.T, off int64, b []byte, mark bool) {
		fsys := newDir(t)
		w, _ := start(t, fsys)
		var want []string
		for i := range 5 {
			want = append(want, commit(t, w, promise(i))...)
		}
		require.NoError(t, w.Close())
		h, err := fsys.Open(path.Join("/j", FileName(1)))
		require.NoError(t, err)
		_, err = h.WriteAt(b, max(off, -off, 0)%(7*Block))
		require.NoError(t, err)
		require.NoError(t, h.Close())
		if !mark {
			require.NoError(t, fsys.Remove(path.Join("/j", MarkName)))
		}
		l := &list{}
		_, err = Replay(fsys, "/j", "c", l)
		if errors.Is(err, header.ErrOtherCluster) || errors.Is(err, header.ErrNewerFormat) {
			return
		}
		require.NoError(t, err)
		next := 0
		for _, e := range l.entries {
			for next < len(want) && want[next] != e {
				next++
			}
			require.Less(t, next, len(want), "an entry that was not written")
			next++
		}
		if mark && len(l.trouble) == 0 {
			require.Equal(t, want, l.entries, "silently lost")
		}
	})
}
