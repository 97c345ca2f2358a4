// Package metadatatest is the behaviour that every [metadata.Store] must show.
// Each implementation's tests call [Run].
package metadatatest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/metadata"
)

// Tree makes sessions with one tree of keys, empty at first.
type Tree struct {
	// Session opens another session; the suite closes it.
	Session func(t *testing.T) metadata.Store
	// Reopen ends everything that holds the tree in this process and opens it
	// anew. Nil: the implementation does not outlive its process.
	Reopen func(t *testing.T) metadata.Store
}

// waitMax is how long the suite waits for what must happen.
const waitMax = 30 * time.Second

// Run runs the suite; begin is called for each test and cleans up by t.Cleanup.
func Run(t *testing.T, begin func(t *testing.T) Tree) {
	tests := []struct {
		name string
		test func(t *testing.T, tree Tree)
	}{
		{"CompareAndSet", compareAndSet},
		{"Delete", deleting},
		{"List", listing},
		{"Keys", keys},
		{"ValuesBelongToTheCaller", values},
		{"ConcurrentCompareAndSet", concurrent},
		{"WatchSeesTheLastChange", watchLast},
		{"WatchSeesChildren", watchChildren},
		{"WatchEnds", watchEnds},
		{"EphemeralVanishesWithItsSession", ephemeral},
		{"EphemeralIsReplaced", ephemeralReplaced},
		{"CancelledContext", cancelled},
		{"Closed", closed},
		{"Durable", durable},
		{"Cluster", cluster},
		{"Storages", storages},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.test(t, begin(t)) })
	}
}

func session(t *testing.T, tree Tree) metadata.Store {
	s := tree.Session(t)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func compareAndSet(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	_, version, err := s.Get(ctx, "a/b")
	require.ErrorIs(t, err, metadata.ErrNotFound)
	require.Equal(t, metadata.Absent, version)

	v1, err := s.Set(ctx, "a/b", []byte("one"), metadata.Absent)
	require.NoError(t, err)
	_, err = s.Set(ctx, "a/b", []byte("two"), metadata.Absent)
	require.ErrorIs(t, err, metadata.ErrVersion)
	v2, err := s.Set(ctx, "a/b", []byte("three"), v1)
	require.NoError(t, err)
	require.NotEqual(t, v1, v2)
	_, err = s.Set(ctx, "a/b", []byte("four"), v1)
	require.ErrorIs(t, err, metadata.ErrVersion)
	_, err = s.Set(ctx, "never/was", nil, v1)
	require.ErrorIs(t, err, metadata.ErrVersion)

	value, version, err := session(t, tree).Get(ctx, "a/b")
	require.NoError(t, err)
	require.Equal(t, "three", string(value))
	require.Equal(t, v2, version)
	var key *metadata.KeyError
	_, err = s.Set(ctx, "a/b", nil, v1)
	require.ErrorAs(t, err, &key)
	require.Equal(t, "a/b", key.Key)
}

func deleting(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	v, err := s.Set(ctx, "k", []byte("v"), metadata.Absent)
	require.NoError(t, err)
	require.ErrorIs(t, s.Delete(ctx, "k", v+1), metadata.ErrVersion)
	require.ErrorIs(t, s.Delete(ctx, "other", v), metadata.ErrNotFound)
	require.NoError(t, s.Delete(ctx, "k", v))
	require.ErrorIs(t, s.Delete(ctx, "k", v), metadata.ErrNotFound)
	_, err = s.Set(ctx, "k", []byte("again"), metadata.Absent)
	require.NoError(t, err)
}

func listing(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	for _, key := range []string{"dir/b", "dir/a", "dir/c/deeper", "dirt"} {
		_, err := s.Set(ctx, key, nil, metadata.Absent)
		require.NoError(t, err)
	}
	names, err := s.List(ctx, "dir")
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c"}, names)
	names, err = s.List(ctx, "nowhere")
	require.NoError(t, err)
	require.Empty(t, names)
}

func keys(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	for _, key := range []string{"", "/a", "a/", "a//b", "a/../b", "."} {
		_, err := s.Set(ctx, key, nil, metadata.Absent)
		require.ErrorIs(t, err, metadata.ErrKey, key)
		_, _, err = s.Get(ctx, key)
		require.ErrorIs(t, err, metadata.ErrKey, key)
	}
}

func values(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	mine := []byte("mine")
	_, err := s.Set(ctx, "k", mine, metadata.Absent)
	require.NoError(t, err)
	mine[0] = 'X'
	got, _, err := s.Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "mine", string(got))
	got[0] = 'Y'
	got, _, err = s.Get(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, "mine", string(got))
}

// concurrent counts a number up from several sessions: no change is lost.
func concurrent(t *testing.T, tree Tree) {
	const sessions, each = 4, 25
	g, ctx := errgroup.WithContext(t.Context())
	for range sessions {
		s := session(t, tree)
		g.Go(func() error {
			for range each {
				if err := increment(ctx, s, "n"); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	value, _, err := session(t, tree).Get(t.Context(), "n")
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(sessions*each), string(value))
}

func increment(ctx context.Context, s metadata.Store, key string) error {
	for {
		n := 0
		value, version, err := s.Get(ctx, key)
		if err != nil && !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		if err == nil {
			n, _ = strconv.Atoi(string(value))
		}
		if _, err = s.Set(ctx, key, fmt.Append(nil, n+1), version); !errors.Is(err, metadata.ErrVersion) {
			return err
		}
	}
}

// until reads again on every signal of a watch until what is wanted is seen.
func until(t *testing.T, signals <-chan struct{}, what string, seen func() bool) {
	t.Helper()
	for deadline := time.After(waitMax); !seen(); {
		select {
		case _, ok := <-signals:
			require.True(t, ok, "watch ended before %s", what)
		case <-deadline:
			require.FailNow(t, "watch did not tell of "+what)
		}
	}
}

func watchLast(t *testing.T, tree Tree) {
	ctx, writer, reader := t.Context(), session(t, tree), session(t, tree)
	signals, err := reader.Watch(ctx, "k")
	require.NoError(t, err)
	go func() {
		for range 50 {
			_ = increment(ctx, writer, "k")
		}
	}()
	until(t, signals, "the last change", func() bool {
		value, _, err := reader.Get(ctx, "k")
		return err == nil && string(value) == "50"
	})
}

func watchChildren(t *testing.T, tree Tree) {
	ctx, writer, reader := t.Context(), session(t, tree), session(t, tree)
	signals, err := reader.Watch(ctx, "dir")
	require.NoError(t, err)
	go func() { _, _ = writer.Set(ctx, "dir/child", nil, metadata.Absent) }()
	until(t, signals, "a new child", func() bool {
		names, err := reader.List(ctx, "dir")
		return err == nil && len(names) == 1
	})
	go func() { _ = writer.Delete(ctx, "dir/child", 0) }()
	until(t, signals, "the child's end", func() bool {
		names, err := reader.List(ctx, "dir")
		return err == nil && len(names) == 0
	})
}

func watchEnds(t *testing.T, tree Tree) {
	s := session(t, tree)
	ctx, cancel := context.WithCancel(t.Context())
	signals, err := s.Watch(ctx, "k")
	require.NoError(t, err)
	cancel()
	waitClosed(t, signals)
	signals, err = s.Watch(t.Context(), "k")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	waitClosed(t, signals)
}

func waitClosed(t *testing.T, signals <-chan struct{}) {
	t.Helper()
	for deadline := time.After(waitMax); ; {
		select {
		case _, ok := <-signals:
			if !ok {
				return
			}
		case <-deadline:
			require.FailNow(t, "watch goes on")
		}
	}
}

func ephemeral(t *testing.T, tree Tree) {
	ctx, s, other := t.Context(), session(t, tree), session(t, tree)
	require.NoError(t, s.SetEphemeral(ctx, "live/s1", []byte("here")))
	require.NoError(t, other.SetEphemeral(ctx, "live/s2", nil))
	value, _, err := other.Get(ctx, "live/s1")
	require.NoError(t, err)
	require.Equal(t, "here", string(value))
	signals, err := other.Watch(ctx, "live")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	until(t, signals, "the end of a session", func() bool {
		names, err := other.List(ctx, "live")
		return err == nil && len(names) == 1 && names[0] == "s2"
	})
}

func ephemeralReplaced(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	require.NoError(t, s.SetEphemeral(ctx, "live", []byte("1")))
	_, v1, err := s.Get(ctx, "live")
	require.NoError(t, err)
	require.NoError(t, s.SetEphemeral(ctx, "live", []byte("2")))
	value, v2, err := s.Get(ctx, "live")
	require.NoError(t, err)
	require.Equal(t, "2", string(value))
	require.NotEqual(t, v1, v2)
}

func cancelled(t *testing.T, tree Tree) {
	s := session(t, tree)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Set(ctx, "k", nil, metadata.Absent)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = s.Get(ctx, "k")
	require.ErrorIs(t, err, context.Canceled)
}

func closed(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, _, err := s.Get(ctx, "k")
	require.ErrorIs(t, err, metadata.ErrClosed)
	_, err = s.Set(ctx, "k", nil, metadata.Absent)
	require.ErrorIs(t, err, metadata.ErrClosed)
	require.ErrorIs(t, s.SetEphemeral(ctx, "k", nil), metadata.ErrClosed)
	require.ErrorIs(t, s.Delete(ctx, "k", 0), metadata.ErrClosed)
	_, err = s.List(ctx, "k")
	require.ErrorIs(t, err, metadata.ErrClosed)
	_, err = s.Watch(ctx, "k")
	require.ErrorIs(t, err, metadata.ErrClosed)
}

// durable: what Set returned is there after everything was opened anew, with
// its version; ephemeral keys are not.
func durable(t *testing.T, tree Tree) {
	if tree.Reopen == nil {
		return // forgets by design
	}
	ctx, s := t.Context(), tree.Session(t)
	versions := map[string]metadata.Version{}
	for i := range 20 {
		key := fmt.Sprintf("k/%d", i%5)
		version, ok := versions[key]
		if !ok {
			version = metadata.Absent
		}
		version, err := s.Set(ctx, key, fmt.Append(nil, i), version)
		require.NoError(t, err)
		versions[key] = version
	}
	require.NoError(t, s.Delete(ctx, "k/4", versions["k/4"]))
	require.NoError(t, s.SetEphemeral(ctx, "live", nil))

	s = tree.Reopen(t)
	names, err := s.List(ctx, "k")
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1", "2", "3"}, names)
	for i := range 4 {
		value, version, err := s.Get(ctx, fmt.Sprintf("k/%d", i))
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(15+i), string(value))
		require.Equal(t, versions[fmt.Sprintf("k/%d", i)], version)
	}
	_, _, err = s.Get(ctx, "live")
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

// cluster: the typed values on top go in and out as they are.
func cluster(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	_, err := metadata.LoadCluster(ctx, s)
	require.ErrorIs(t, err, metadata.ErrNotFound)
	want := metadata.Cluster{Key: "key", Name: "name", Partitions: 64}
	require.NoError(t, metadata.Create(ctx, s, want, []string{"s1"}))
	require.ErrorIs(t, metadata.Create(ctx, s, want, []string{"s1"}), metadata.ErrVersion)
	got, err := metadata.LoadCluster(ctx, s)
	require.NoError(t, err)
	want.FormatVersion = metadata.FormatVersion
	require.Equal(t, want, got)

	m, version, err := metadata.LoadPartition(ctx, s, 63)
	require.NoError(t, err)
	require.Equal(t, metadata.PartitionState{Target: []string{"s1"}}, m)
	m.Session, m.Members = 7, []metadata.Member{{Storage: "s1", Incarnation: 1<<64 - 1, Installed: 7}}
	_, err = metadata.SavePartition(ctx, s, 63, m, version)
	require.NoError(t, err)
	_, err = metadata.SavePartition(ctx, s, 63, m, version)
	require.ErrorIs(t, err, metadata.ErrVersion)
	got63, _, err := metadata.LoadPartition(ctx, s, 63)
	require.NoError(t, err)
	require.Equal(t, m, got63)
	_, _, err = metadata.LoadPartition(ctx, s, 64)
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

// storages: the registry of storages, and the watch on it.
func storages(t *testing.T, tree Tree) {
	ctx, s := t.Context(), session(t, tree)
	all, err := metadata.ListStorages(ctx, s)
	require.NoError(t, err)
	require.Empty(t, all)
	signals, err := s.Watch(ctx, metadata.StoragesKey)
	require.NoError(t, err)
	for _, name := range []string{"s2", "s1"} {
		_, err = metadata.SaveStorage(ctx, s, metadata.Storage{Name: name, Address: name + ":7272", Group: "rack-" + name}, metadata.Absent)
		require.NoError(t, err)
	}
	until(t, signals, "two storages", func() bool {
		all, err = metadata.ListStorages(ctx, s)
		return err == nil && len(all) == 2
	})
	require.Equal(t, []metadata.Storage{
		{Name: "s1", Address: "s1:7272", Group: "rack-s1", State: metadata.InService},
		{Name: "s2", Address: "s2:7272", Group: "rack-s2", State: metadata.InService},
	}, all)
	s1, version, err := metadata.LoadStorage(ctx, s, "s1")
	require.NoError(t, err)
	s1.State = metadata.Draining
	_, err = metadata.SaveStorage(ctx, s, s1, version)
	require.NoError(t, err)
	_, err = metadata.SaveStorage(ctx, s, s1, version)
	require.ErrorIs(t, err, metadata.ErrVersion)
	require.ErrorIs(t, metadata.DeleteStorage(ctx, s, "s1", version), metadata.ErrVersion)
	s1, version, err = metadata.LoadStorage(ctx, s, "s1")
	require.NoError(t, err)
	require.Equal(t, metadata.Draining, s1.State)
	require.NoError(t, metadata.DeleteStorage(ctx, s, "s1", version))
	_, _, err = metadata.LoadStorage(ctx, s, "s1")
	require.ErrorIs(t, err, metadata.ErrNotFound)
}
