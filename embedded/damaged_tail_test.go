package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/server"
	"github.com/waltz-log/waltz/waltz"
)

const tailSize = 50

// tail is a closed log of two partitions with 50 transactions each in segments,
// transaction i of partition p has taken lock i.
func tail(t *testing.T) embedded.Options {
	t.Helper()
	o := small(embedded.Options{FS: vfs.NewMem(), Partitions: 2})
	o.Server.CacheBytesMax = 1 // so that feeds read from the disk
	w := open(t, o)
	client := dial(t, w)
	for p := range waltz.Partition(2) {
		for i := range waltz.ID(tailSize) {
			id, err := client.Append(t.Context(), p, transaction(p, i, i-1))
			require.NoError(t, err)
			require.Equal(t, i, id)
		}
	}
	require.NoError(t, client.Close())
	require.NoError(t, w.Close(t.Context()))
	return o
}

func account(i waltz.ID) waltz.Lock {
	return waltz.LockName("account").ID(uint64(i)).Write()
}

func transaction(p waltz.Partition, i, hwm waltz.ID) waltz.Transaction {
	data := fmt.Appendf(nil, "partition %d, transaction %d. %0900d", p, i, 0)
	return waltz.Transaction{Data: data, HighWaterMark: hwm, Locks: []waltz.Lock{account(i)}}
}

// damage flips a bit of the data of a transaction, wherever it is in a folder.
func damage(t *testing.T, mem *vfs.Mem, dir string, p waltz.Partition, i waltz.ID) {
	t.Helper()
	names, err := mem.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		name = path.Join(dir, name)
		if info, err := mem.Stat(name); err != nil || info.IsDir() {
			continue
		}
		b, err := mem.Bytes(name)
		require.NoError(t, err)
		if at := bytes.Index(b, fmt.Appendf(nil, "partition %d, transaction %d. ", p, i)); at >= 0 {
			require.NoError(t, mem.Flip(name, int64(at), 1))
			return
		}
	}
	require.Fail(t, "it is not there", "transaction %d of partition %d in %s", i, p, dir)
}

// refusedIn reads a partition transaction by transaction, and returns which are
// refused; the others must be what was written.
func refusedIn(t *testing.T, client *waltz.Client, p waltz.Partition) (refused []waltz.ID) {
	t.Helper()
	for i := range waltz.ID(tailSize) {
		got, err := client.Fetch(t.Context(), p, []waltz.ID{i})
		if err != nil {
			require.ErrorIs(t, err, waltz.ErrCorrupt)
			refused = append(refused, i)
			continue
		}
		require.Equal(t, transaction(p, i, i-1).Data, got[0].Data)
	}
	return refused
}

// TestDamagedTail: damage among the transactions that locks are rebuilt from
// closes nothing. What is refused is the damaged range; above it locks are exact,
// and whoever has not seen it gets stale, instead of past it (I5).
func TestDamagedTail(t *testing.T) {
	for name, at := range map[string]waltz.ID{"first": 0, "middle": 20, "last": tailSize - 1} {
		t.Run(name, func(t *testing.T) {
			o := tail(t)
			damage(t, o.FS.(*vfs.Mem), "/log/storage/partitions/000000", 0, at)
			w := open(t, o)
			require.Nil(t, w.Damaged())
			client := dial(t, w)
			refused := refusedIn(t, client, 0)
			require.Contains(t, refused, at)
			require.Less(t, len(refused), 10)
			require.Empty(t, refusedIn(t, client, 1))
			floor := refused[len(refused)-1]

			hwm, err := client.HighWaterMark(t.Context(), 0)
			require.NoError(t, err)
			require.Equal(t, waltz.ID(tailSize-1), hwm)
			var stale *waltz.StaleError
			_, err = client.Append(t.Context(), 0, transaction(0, at, at-1))
			require.ErrorAs(t, err, &stale)
			require.Equal(t, floor, stale.Floor)
			if floor < hwm {
				var conflict *waltz.LockConflictError
				_, err = client.Append(t.Context(), 0, transaction(0, hwm, floor))
				require.ErrorAs(t, err, &conflict)
				require.Equal(t, hwm, conflict.TransactionID)
			}
			id, err := client.Append(t.Context(), 0, transaction(0, at, hwm))
			require.NoError(t, err)
			require.Equal(t, hwm+1, id)
			id, err = client.Append(t.Context(), 0, waltz.Transaction{HighWaterMark: waltz.None})
			require.NoError(t, err, "a client that comes without any mark gets one")
			require.Equal(t, hwm+2, id)
			_, err = client.Append(t.Context(), 1, transaction(1, 7, 7))
			require.NoError(t, err)

			feed, err := client.Subscribe(t.Context(), waltz.SubscribeOptions{HighWaterMark: floor})
			require.NoError(t, err)
			batch, err := feed.Next(t.Context(), 1)
			require.NoError(t, err)
			require.Equal(t, floor+1, batch.Transactions[0].ID)
			require.NoError(t, feed.Close())

			require.NoError(t, client.Close())
			require.NoError(t, w.Close(t.Context()))
			client = dial(t, open(t, o))
			require.Equal(t, refused, refusedIn(t, client, 0), "what came behind the damage is there, after a restart")
			hwm, err = client.HighWaterMark(t.Context(), 0)
			require.NoError(t, err)
			require.Equal(t, waltz.ID(tailSize+1), hwm)
		})
	}
}

// killed is a log with one transaction in each partition, which are in the
// journal only.
func killed(t *testing.T, partitions int) embedded.Options {
	t.Helper()
	mem := vfs.NewMem()
	o := small(embedded.Options{FS: mem, Partitions: partitions})
	client := dial(t, open(t, o))
	for p := range waltz.Partition(partitions) {
		_, err := client.Append(t.Context(), p, transaction(p, 0, waltz.None))
		require.NoError(t, err)
	}
	o.FS = mem.Clone()
	return o
}

// TestDamagedPartitionLeavesTheOthers: where the journal has lost something of a
// partition a promise may be lost with it, so it stays closed; the others are
// served at once, and who asks for it is told what is the matter, at once.
func TestDamagedPartitionLeavesTheOthers(t *testing.T) {
	o := killed(t, 3)
	damage(t, o.FS.(*vfs.Mem), "/log/storage/journal", 1, 0)
	w := open(t, o)
	require.NotNil(t, w.Damaged())
	require.Equal(t, "[1]", fmt.Sprint(w.Damaged().Partitions))
	require.True(t, record.IsCorrupt(w.Damaged()))
	client := dial(t, w)
	for _, p := range []waltz.Partition{0, 2} {
		id, err := client.Append(t.Context(), p, transaction(p, 1, 0))
		require.NoError(t, err)
		require.Equal(t, waltz.ID(1), id)
		got, err := client.Fetch(t.Context(), p, []waltz.ID{0})
		require.NoError(t, err)
		require.Equal(t, transaction(p, 0, waltz.None).Data, got[0].Data)
	}
	_, err := client.Append(t.Context(), 1, transaction(1, 1, 0))
	require.ErrorIs(t, err, waltz.ErrCorrupt)
	_, err = client.HighWaterMark(t.Context(), 1)
	require.ErrorIs(t, err, waltz.ErrCorrupt)
	_, err = client.Fetch(t.Context(), 1, []waltz.ID{0})
	require.ErrorIs(t, err, waltz.ErrCorrupt)
	feed, err := client.Subscribe(t.Context(), waltz.SubscribeOptions{Partition: 1, HighWaterMark: waltz.None})
	require.NoError(t, err)
	_, err = feed.Next(t.Context(), 1)
	require.ErrorIs(t, err, waltz.ErrCorrupt)
	require.NoError(t, feed.Close())
}

// TestNothingLeftToServe: if damage keeps all partitions closed Open says so,
// without waiting for what can't come.
func TestNothingLeftToServe(t *testing.T) {
	o := killed(t, 2)
	for p := range waltz.Partition(2) {
		damage(t, o.FS.(*vfs.Mem), "/log/storage/journal", p, 0)
	}
	o.ReadyMax = 0 // the default, which is longer than the test may last
	_, err := embedded.Open(t.Context(), o)
	var damaged *server.DamagedError
	require.ErrorAs(t, err, &damaged)
	require.Len(t, damaged.Partitions, 2)
	require.True(t, record.IsCorrupt(err))
	require.Equal(t, 1, strings.Count(err.Error(), "partition 1 is damaged"), "%v", err)
}

// TestLostStateIsDamage: of a partition of which the journal has lost all, the
// storage knows nothing; that is no reason to take its files for another log's.
func TestLostStateIsDamage(t *testing.T) {
	o := killed(t, 1)
	mem := o.FS.(*vfs.Mem)
	names, err := mem.List("/log/storage/journal")
	require.NoError(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, ".journal") {
			continue
		}
		for at := int64(4096); at < 64<<10; at += 4096 {
			require.NoError(t, mem.Flip("/log/storage/journal/"+name, at, 1))
		}
	}
	_, err = embedded.Open(context.WithoutCancel(t.Context()), o)
	var damaged *server.DamagedError
	require.ErrorAs(t, err, &damaged)
}
