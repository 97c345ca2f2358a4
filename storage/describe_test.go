package storage_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// Only what is asked for is read from the disk.
func TestListReadsOnlyWhatIsAskedFor(t *testing.T) {
	const partitions = 8
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	for p := range txn.Partition(partitions) {
		m := join(t, s, p, 1)
		for range 10 {
			m.append(10, 500)
		}
	}
	require.NoError(t, s.Close())
	s = open(t, small(fsys))
	defer func() { require.NoError(t, s.Close()) }()
	list := func(only ...txn.Partition) (reads int, all []storage.Description) {
		before := fsys.Count(vfs.OpRead)
		all, err := s.List(context.Background(), only...)
		require.NoError(t, err)
		return fsys.Count(vfs.OpRead) - before, all
	}
	everything, all := list()
	require.Len(t, all, partitions)
	require.GreaterOrEqual(t, everything, partitions)
	one, all := list(3)
	require.Len(t, all, 1)
	require.Equal(t, txn.Partition(3), all[0].Partition)
	require.Positive(t, all[0].Oldest)
	require.LessOrEqual(t, one, everything/partitions+1)
	nothing, all := list(99)
	require.Empty(t, all)
	require.Zero(t, nothing)
}
