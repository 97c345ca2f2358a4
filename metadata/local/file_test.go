package local_test

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
	"github.com/waltz-log/waltz/metadata/metadatatest"
)

const dir = "/data/metadata"

func open(t *testing.T, fs vfs.FS) *local.Store {
	t.Helper()
	s, err := local.Open(local.Options{FS: fs, Dir: dir})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestFileBehavesAsAStore(t *testing.T) {
	for name, make := range map[string]func(*testing.T) local.Options{
		"fs=os":  func(t *testing.T) local.Options { return local.Options{Dir: path.Join(t.TempDir(), "a", "b")} },
		"fs=mem": func(*testing.T) local.Options { return local.Options{FS: vfs.NewMem(), Dir: dir} },
	} {
		t.Run(name, func(t *testing.T) {
			metadatatest.Run(t, func(t *testing.T) metadatatest.Tree {
				o := make(t)
				root, err := local.Open(o)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, root.Close()) })
				return metadatatest.Tree{
					Session: func(*testing.T) metadata.Store { return root.Session() },
					Reopen: func(t *testing.T) metadata.Store {
						require.NoError(t, root.Close())
						root, err = local.Open(o)
						require.NoError(t, err)
						return root.Session()
					},
				}
			})
		})
	}
}

func TestSecondOpenIsRefusedWithTheFolder(t *testing.T) {
	for name, o := range map[string]local.Options{
		"fs=os": {Dir: t.TempDir()}, "fs=mem": {FS: vfs.NewMem(), Dir: dir},
	} {
		t.Run(name, func(t *testing.T) {
			first, err := local.Open(o)
			require.NoError(t, err)
			_, err = local.Open(o)
			var locked *local.LockedError
			require.ErrorAs(t, err, &locked)
			require.Equal(t, o.Dir, locked.Dir)
			require.ErrorContains(t, err, o.Dir)
			require.NoError(t, first.Close())
			again, err := local.Open(o)
			require.NoError(t, err)
			require.NoError(t, again.Close())
		})
	}
}

// The machine stops at every sync of a series of changes, with several fates of
// what was not synced: what Set had returned is there, and at most the one
// change that was under way besides.
func TestCrashAtEverySync(t *testing.T) {
	const changes = 12
	mem := vfs.NewMem()
	var crashes []func(*testing.T)
	returned := 0
	mem.SetSyncHook(func(op vfs.Op, name string) {
		for seed := range uint64(6) {
			done, clone := returned, mem.CrashClone(seed)
			crashes = append(crashes, func(t *testing.T) { checkAfterCrash(t, clone, done, fmt.Sprintf("%s %s seed %d", op, name, seed)) })
		}
	})
	s := open(t, mem)
	version := metadata.Absent
	for i := range changes {
		var err error
		version, err = s.Set(t.Context(), "n", fmt.Append(nil, i+1), version)
		require.NoError(t, err)
		returned++
	}
	require.Greater(t, len(crashes), 6*2*changes)
	for _, check := range crashes {
		check(t)
	}
}

func checkAfterCrash(t *testing.T, fs *vfs.Mem, done int, when string) {
	s, err := local.Open(local.Options{FS: fs, Dir: dir})
	require.NoError(t, err, when)
	defer func() { require.NoError(t, s.Close()) }()
	found, version := 0, metadata.Absent
	value, v, err := s.Get(t.Context(), "n")
	if !errors.Is(err, metadata.ErrNotFound) {
		require.NoError(t, err, when)
		found, _ = strconv.Atoi(string(value))
		version = v
	}
	require.Contains(t, []int{done, done + 1}, found, when)
	_, err = s.Set(t.Context(), "n", []byte("goes on"), version)
	require.NoError(t, err, when)
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	_, err := s.Set(t.Context(), "some/key", []byte("some value"), metadata.Absent)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	file := path.Join(dir, "metadata")
	b, err := mem.Bytes(file)
	require.NoError(t, err)
	for offset := range b {
		require.NoError(t, mem.Flip(file, int64(offset), 0x10))
		_, err := local.Open(local.Options{FS: mem, Dir: dir})
		var corrupt *local.CorruptError
		require.ErrorAs(t, err, &corrupt, "byte %d", offset)
		require.Equal(t, file, corrupt.Path)
		require.NoError(t, mem.Flip(file, int64(offset), 0x10))
	}
	open(t, mem)
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, mem)
	version, err := s.Set(t.Context(), "k", []byte("1"), metadata.Absent)
	require.NoError(t, err)
	mem.SetSpace(mem.Used())
	_, err = s.Set(t.Context(), "k", []byte("2"), version)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NotErrorIs(t, err, metadata.ErrUnknown)
	value, _, err := s.Get(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "1", string(value))
	mem.SetSpace(-1)
	_, err = s.Set(t.Context(), "k", []byte("2"), version)
	require.NoError(t, err)
}

var errDisk = errors.New("disk failed")

// After a failed sync, rename or folder sync the outcome is unknown, and nothing
// more is believed until the store is opened anew.
func TestFailedSyncStopsTheStore(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSync, vfs.OpRename, vfs.OpSyncDir} {
		t.Run(string(op), func(t *testing.T) {
			mem := vfs.NewMem()
			s := open(t, mem)
			version, err := s.Set(t.Context(), "k", []byte("1"), metadata.Absent)
			require.NoError(t, err)
			mem.Inject(vfs.Rule{Op: op, Err: errDisk})
			_, err = s.Set(t.Context(), "k", []byte("2"), version)
			require.ErrorIs(t, err, metadata.ErrUnknown)
			require.ErrorIs(t, err, errDisk)
			mem.ClearRules()
			_, _, err = s.Get(t.Context(), "k")
			require.ErrorIs(t, err, metadata.ErrUnknown)
			_, err = s.Set(t.Context(), "k", []byte("3"), version)
			require.ErrorIs(t, err, metadata.ErrUnknown)
			require.NoError(t, s.Close())
			value, _, err := open(t, mem).Get(t.Context(), "k")
			require.NoError(t, err)
			require.Contains(t, []string{"1", "2"}, string(value))
		})
	}
}

// Opening many partitions at once must not cost a sync for each.
func TestConcurrentChangesShareOneWrite(t *testing.T) {
	const keys = 64
	mem := vfs.NewMem()
	s := open(t, mem)
	// The first write holds its turn until all others wait behind it.
	begun, goOn := make(chan struct{}), make(chan struct{})
	mem.SetSyncHook(func(op vfs.Op, _ string) {
		mem.SetSyncHook(nil)
		close(begun)
		<-goOn
	})
	g, ctx := errgroup.WithContext(t.Context())
	set := func(i int) func() error {
		return func() error {
			_, err := s.Set(ctx, fmt.Sprintf("p/%d", i), nil, metadata.Absent)
			return err
		}
	}
	g.Go(set(0))
	<-begun
	for i := 1; i < keys; i++ {
		g.Go(set(i))
	}
	require.NoError(t, s.WaitQueued(ctx, keys-1))
	close(goOn)
	require.NoError(t, g.Wait())
	require.Equal(t, 2, mem.Count(vfs.OpSync))
	names, err := s.List(t.Context(), "p")
	require.NoError(t, err)
	require.Len(t, names, keys)
}
