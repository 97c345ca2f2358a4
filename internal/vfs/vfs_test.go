package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/vfs"
)

// systems are both implementations, each with a folder that is empty.
func systems(t *testing.T) map[string]struct {
	fs  vfs.FS
	dir string
} {
	t.Helper()
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll("/a/dir"))
	return map[string]struct {
		fs  vfs.FS
		dir string
	}{"OS": {vfs.OS{}, t.TempDir()}, "Mem": {m, "/a/dir"}}
}

func write(t require.TestingT, f vfs.File, off int64, s string) {
	n, err := f.WriteAt([]byte(s), off)
	require.NoError(t, err)
	require.Equal(t, len(s), n)
}

func content(t require.TestingT, fsys vfs.FS, name string) string {
	f, err := fsys.Open(name)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil {
		require.ErrorIs(t, err, io.EOF)
	}
	return string(b[:n])
}

// What the storage engine relies on holds for both.
func TestBothBehaveAlike(t *testing.T) {
	for name, sys := range systems(t) {
		t.Run(name, func(t *testing.T) {
			fsys, at := sys.fs, func(name string) string { return path.Join(sys.dir, name) }
			_, err := fsys.Open(at("x"))
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.ErrorIs(t, fsys.Remove(at("x")), fs.ErrNotExist)
			require.ErrorIs(t, fsys.Rename(at("x"), at("y")), fs.ErrNotExist)
			_, err = fsys.Stat(at("x"))
			require.ErrorIs(t, err, fs.ErrNotExist)
			_, err = fsys.List(at("x"))
			require.ErrorIs(t, err, fs.ErrNotExist)
			_, err = fsys.Create(at("no/x"))
			require.ErrorIs(t, err, fs.ErrNotExist)

			f, err := fsys.Create(at("x"))
			require.NoError(t, err)
			_, err = fsys.Create(at("x"))
			require.ErrorIs(t, err, fs.ErrExist)
			write(t, f, 5, "hello")
			require.Equal(t, "\x00\x00\x00\x00\x00hello", content(t, fsys, at("x")))
			write(t, f, 0, "12345")
			b := make([]byte, 8)
			n, err := f.ReadAt(b, 6)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, "ello", string(b[:n]))
			require.NoError(t, f.Truncate(3))
			require.NoError(t, f.Truncate(6))
			require.Equal(t, "123\x00\x00\x00", content(t, fsys, at("x")))
			require.NoError(t, f.Sync())
			require.NoError(t, f.Datasync())
			require.NoError(t, fsys.SyncDir(sys.dir))

			g, err := fsys.Create(at("y"))
			require.NoError(t, err)
			require.NoError(t, g.Close())
			require.ErrorIs(t, g.Close(), fs.ErrClosed)
			require.NoError(t, fsys.Rename(at("x"), at("y")))
			write(t, f, 0, "abc")
			require.Equal(t, "abc\x00\x00\x00", content(t, fsys, at("y")), "a handle follows its file")
			require.NoError(t, fsys.MkdirAll(at("d/e")))
			require.NoError(t, fsys.MkdirAll(at("d/e")))
			names, err := fsys.List(sys.dir)
			require.NoError(t, err)
			require.Equal(t, []string{"d", "y"}, names)
			info, err := fsys.Stat(at("d"))
			require.NoError(t, err)
			require.True(t, info.IsDir())
			require.Error(t, fsys.Remove(at("d")), "not empty")
			require.NoError(t, fsys.Remove(at("d/e")))
			require.NoError(t, fsys.Remove(at("y")))
			write(t, f, 0, "still") // a removed file lives as long as its handles
			require.NoError(t, f.Close())
			_, err = f.WriteAt([]byte("x"), 0)
			require.ErrorIs(t, err, fs.ErrClosed)
		})
	}
}

func TestLock(t *testing.T) {
	for name, sys := range systems(t) {
		t.Run(name, func(t *testing.T) {
			file := path.Join(sys.dir, "LOCK")
			held, err := sys.fs.Lock(file)
			require.NoError(t, err)
			_, err = sys.fs.Lock(file)
			require.ErrorIs(t, err, vfs.ErrLocked)
			require.NoError(t, held.Close())
			again, err := sys.fs.Lock(file)
			require.NoError(t, err)
			require.NoError(t, again.Close())
		})
	}
}

// eachCrash calls check with many reboots, and with how many of them it said true.
func eachCrash(m *vfs.Mem, check func(*vfs.Mem) bool) (yes, all int) {
	for all = range 400 {
		if check(m.CrashClone(uint64(all))) {
			yes++
		}
	}
	return yes, all + 1
}

func exists(m *vfs.Mem, name string) bool {
	_, err := m.Stat(name)
	return err == nil
}

// A name is durable after SyncDir, and may or may not be there before.
func TestCrashOfNames(t *testing.T) {
	m := vfs.NewMem()
	create := func(name string) vfs.File {
		f, err := m.Create(name)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		return f
	}
	sometimes := func(name string, check func(*vfs.Mem) bool) {
		t.Helper()
		yes, all := eachCrash(m, check)
		require.Greater(t, yes, all/10, name)
		require.Less(t, yes, all-all/10, name)
	}
	always := func(name string, check func(*vfs.Mem) bool) {
		t.Helper()
		yes, all := eachCrash(m, check)
		require.Equal(t, all, yes, name)
	}
	create("/x")
	sometimes("created", func(c *vfs.Mem) bool { return exists(c, "/x") })
	require.NoError(t, m.SyncDir("/"))
	always("synced", func(c *vfs.Mem) bool { return exists(c, "/x") })

	require.NoError(t, m.Rename("/x", "/y"))
	sometimes("renamed", func(c *vfs.Mem) bool { return exists(c, "/y") })
	always("renamed, as a whole", func(c *vfs.Mem) bool { return exists(c, "/x") != exists(c, "/y") })
	require.NoError(t, m.SyncDir("/"))
	require.NoError(t, m.Remove("/y"))
	sometimes("removed", func(c *vfs.Mem) bool { return exists(c, "/y") })

	require.NoError(t, m.MkdirAll("/d"))
	create("/d/z")
	require.NoError(t, m.SyncDir("/d"))
	sometimes("in a folder that is not durable", func(c *vfs.Mem) bool { return exists(c, "/d/z") })
	require.NoError(t, m.SyncDir("/"))
	always("in one that is", func(c *vfs.Mem) bool { return exists(c, "/d/z") })
	create("/d/1")
	create("/d/2")
	for _, want := range [][2]bool{{true, true}, {true, false}, {false, true}, {false, false}} {
		yes, _ := eachCrash(m, func(c *vfs.Mem) bool { return [2]bool{exists(c, "/d/1"), exists(c, "/d/2")} == want })
		require.Positive(t, yes, "any subset: %v", want)
	}
}

// After a crash every sector of a file is as it was synced or as it was written
// since; synced bytes are there; torn writes happen.
func TestCrashOfBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMem()
		f, err := m.Create("/x")
		require.NoError(t, err)
		require.NoError(t, m.SyncDir("/"))
		var synced, now []byte
		for i := range rapid.IntRange(1, 12).Draw(t, "ops") {
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0:
				require.NoError(t, f.Datasync())
				synced = bytes.Clone(now)
			case 1:
				size := rapid.IntRange(0, 12000).Draw(t, "size")
				require.NoError(t, f.Truncate(int64(size)))
				now = append(now[:min(size, len(now))], make([]byte, max(0, size-len(now)))...)
			default:
				off, n := rapid.IntRange(0, 9000).Draw(t, "off"), rapid.IntRange(1, 5000).Draw(t, "n")
				b := bytes.Repeat([]byte{byte(i + 1)}, n)
				_, err := f.WriteAt(b, int64(off))
				require.NoError(t, err)
				now = append(now, make([]byte, max(0, off+n-len(now)))...)
				copy(now[off:], b)
			}
		}
		require.Equal(t, string(now), content(t, m, "/x"))
		require.EqualValues(t, len(now), m.Used())
		for seed := range uint64(20) {
			got := content(t, m.CrashClone(seed), "/x")
			require.Contains(t, []int{len(now), len(synced)}, len(got))
			for s := 0; s < len(got); s += 512 {
				part := func(b []byte) string {
					p := make([]byte, min(512, len(got)-s))
					if s < len(b) {
						copy(p, b[s:])
					}
					return string(p)
				}
				require.Contains(t, []string{part(now), part(synced), part(now[:min(len(now), len(got))])}, got[s:s+len(part(now))], "sector at %d", s)
			}
		}
		require.Equal(t, string(now), content(t, m.Clone(), "/x"))
	})
}

// A clone is as a killed process leaves it: written but not durable.
func TestCloneIsNotDurable(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("/x")
	require.NoError(t, err)
	write(t, f, 0, "written")
	left := m.Clone()
	require.Equal(t, "written", content(t, left, "/x"))
	gone, _ := eachCrash(left, func(c *vfs.Mem) bool { return !exists(c, "/x") })
	require.Positive(t, gone)
	write(t, f, 0, "changed")
	require.Equal(t, "written", content(t, left, "/x"))
}

func TestRules(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("/a.log")
	require.NoError(t, err)
	boom := errors.New("boom")
	m.Inject(vfs.Rule{Op: vfs.OpWrite, Match: "*.log", Skip: 1, Times: 2, Err: boom})
	var got []bool
	for range 5 {
		_, err := f.WriteAt([]byte("x"), 0)
		got = append(got, errors.Is(err, boom))
	}
	require.Equal(t, []bool{false, true, true, false, false}, got)
	require.NoError(t, m.Rename("/a.log", "/a.txt"))
	m.Inject(vfs.Rule{Match: "*.txt", Err: boom})
	require.ErrorIs(t, f.Sync(), boom, "a rule follows the file's name")
	m.ClearRules()
	require.NoError(t, f.Sync())
	require.Equal(t, 2, m.Count(vfs.OpSync))
}

func TestSpace(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("/x")
	require.NoError(t, err)
	write(t, f, 0, "12345")
	m.SetSpace(8)
	_, err = f.WriteAt([]byte("6789"), 5)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, "12345", content(t, m, "/x"))
	write(t, f, 2, "345678") // up to the limit
	require.ErrorIs(t, f.Truncate(9), syscall.ENOSPC)
	require.NoError(t, m.Remove("/x"))
	require.Zero(t, m.Used())
	m.SetSpace(0)
	_, err = m.Create("/y")
	require.ErrorIs(t, err, syscall.ENOSPC)
}

func TestSyncHookComesBefore(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("/x")
	require.NoError(t, err)
	var log []string
	m.SetSyncHook(func(op vfs.Op, name string) {
		lost, _ := eachCrash(m, func(c *vfs.Mem) bool { return !exists(c, "/x") || content(t, c, "/x") == "" })
		log = append(log, fmt.Sprintf("%s %s lost=%v", op, name, lost > 0))
	})
	write(t, f, 0, "x")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/"))
	require.NoError(t, f.Datasync())
	require.Equal(t, []string{"sync /x lost=true", "syncdir / lost=true", "datasync /x lost=false"}, log)
}

func TestFlip(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("/x")
	require.NoError(t, err)
	write(t, f, 0, "ab")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/"))
	require.NoError(t, m.Flip("/x", 1, 1))
	require.Equal(t, "ac", content(t, m, "/x"))
	require.Equal(t, "ac", content(t, m.CrashClone(1), "/x"))
	require.Error(t, m.Flip("/x", 2, 1))
}
