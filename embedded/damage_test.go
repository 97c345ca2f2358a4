package embedded_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/waltz"
)

// TestDamagedRangeIsRefused: what is not what was written is never served, and
// asking for it fails at once and for good, instead of waiting for a disk to heal;
// everything else works.
func TestDamagedRangeIsRefused(t *testing.T) {
	const segment = "/log/storage/partitions/000000/00000000000000000000.seg"
	mem := vfs.NewMem()
	o := small(embedded.Options{FS: mem})
	o.Server.CacheBytesMax = 1 // so that feeds read from the disk
	client := dial(t, open(t, o))
	last := waltz.None
	for size := int64(0); size < 32<<10; {
		var err error
		last, err = client.Append(t.Context(), 0, waltz.Transaction{Data: make([]byte, 1000), HighWaterMark: waltz.None})
		require.NoError(t, err)
		if info, err := mem.Stat(segment); err == nil {
			size = info.Size()
		}
	}
	require.NoError(t, mem.Flip(segment, 5000, 1))

	served := waltz.None
	var failed error
	for tx, err := range client.Read(t.Context(), 0, 0, last) {
		if failed = err; err == nil {
			served = tx.ID
		}
	}
	require.ErrorIs(t, failed, waltz.ErrCorrupt)
	require.Less(t, served, waltz.ID(5))
	_, failed = client.Fetch(t.Context(), 0, []waltz.ID{4})
	require.ErrorIs(t, failed, waltz.ErrCorrupt)

	feed, err := client.Subscribe(t.Context(), waltz.SubscribeOptions{HighWaterMark: waltz.None})
	require.NoError(t, err)
	for failed = nil; failed == nil; {
		_, failed = feed.Next(t.Context(), 1)
	}
	require.ErrorIs(t, failed, waltz.ErrCorrupt)
	require.NoError(t, feed.Close())

	for _, err := range client.Read(t.Context(), 0, 20, last) {
		require.NoError(t, err)
	}
	_, err = client.Append(t.Context(), 0, waltz.Transaction{HighWaterMark: last})
	require.NoError(t, err)
}
