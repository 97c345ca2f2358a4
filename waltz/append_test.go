package waltz

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/clientpb"
)

const account LockName = "account"

func TestAppendTravelsWhole(t *testing.T) {
	log := newFakeLog(3)
	f := log.start(t)
	c := dial(t, f.addr)
	id, err := c.Append(testContext(t), 2, Transaction{
		Header: -7, Data: []byte("data"), Key: "key", HighWaterMark: None,
		Locks: []Lock{account.ID(1).Write(), account.ID(2).Read(), account.ID(3).Append(), account.ID(4).Append()},
	})
	require.NoError(t, err)
	require.Equal(t, ID(0), id)
	in := f.seen()
	require.Len(t, in, 1)
	require.Equal(t, log.key, in[0].ClusterKey, "the first message of a stream names the cluster")
	tx := in[0].Transactions[0]
	require.Equal(t, int32(2), tx.Partition)
	require.Equal(t, int32(-7), tx.Header)
	require.Equal(t, []byte("data"), tx.Data)
	require.Equal(t, "key", tx.Key)
	require.Equal(t, int64(-1), tx.ClientHighWaterMark)
	require.Equal(t, int64(-1), tx.SentHighWaterMark)
	require.False(t, tx.Resend)
	hash := func(id uint64) uint64 { return uint64(txn.HashLock("account", id)) }
	require.Equal(t, []uint64{hash(1)}, tx.WriteLocks)
	require.Equal(t, []uint64{hash(2)}, tx.ReadLocks)
	require.Equal(t, []uint64{hash(3), hash(4)}, tx.AppendLocks)
	r, _, err := record.Decode(log.parts[2].frames[0])
	require.NoError(t, err)
	require.Equal(t, "key", string(r.Key))
}

func TestAppendAnswers(t *testing.T) {
	log := newFakeLog(1)
	f := log.start(t)
	c := dial(t, f.addr)
	ctx := testContext(t)
	_, err := c.Append(ctx, 0, Transaction{Locks: []Lock{account.ID(1).Write()}, HighWaterMark: None})
	require.NoError(t, err)
	_, err = c.Append(ctx, 0, Transaction{Locks: []Lock{account.ID(1).Read()}, HighWaterMark: None})
	var conflict *LockConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, LockConflictError{Partition: 0, TransactionID: 0}, *conflict)

	for _, test := range []struct {
		reason clientpb.Reason
		want   error
		text   string
	}{
		{clientpb.Reason_REASON_TOO_LARGE, ErrTooLarge, "the log takes 9: smaller"},
		{clientpb.Reason_REASON_TOO_MANY_LOCKS, ErrTooManyLocks, "the log takes 9"},
		{clientpb.Reason_REASON_INVALID, ErrInvalid, "smaller"},
		{clientpb.Reason_REASON_NO_PARTITION, ErrNoPartition, "smaller"},
		{clientpb.Reason_REASON_OTHER_CLUSTER, ErrOtherCluster, "smaller"},
		{clientpb.Reason(99), nil, "doesn't know"},
	} {
		f.set(func(f *fake) {
			f.onAppend = func(*clientpb.Transaction) *clientpb.Refused {
				return &clientpb.Refused{Reason: test.reason, Limit: 9, Message: "smaller", TransactionId: 4}
			}
		})
		_, err := c.Append(ctx, 0, Transaction{HighWaterMark: None})
		require.ErrorContains(t, err, test.text)
		if test.want != nil {
			require.ErrorIs(t, err, test.want)
		}
	}
	f.set(func(f *fake) {
		f.onAppend = func(*clientpb.Transaction) *clientpb.Refused {
			return &clientpb.Refused{Reason: clientpb.Reason_REASON_STALE, TransactionId: 4}
		}
	})
	_, err = c.Append(ctx, 0, Transaction{HighWaterMark: None})
	var stale *StaleError
	require.ErrorAs(t, err, &stale)
	require.Equal(t, StaleError{Partition: 0, Floor: 4}, *stale)
}

func TestAppendRefusesWhatNoServerTakes(t *testing.T) {
	f := newFakeLog(2).start(t)
	c := dial(t, f.addr)
	ctx := testContext(t)
	for name, test := range map[string]struct {
		partition Partition
		tx        Transaction
		want      error
	}{
		"partition above":     {2, Transaction{}, ErrNoPartition},
		"partition below":     {-1, Transaction{}, ErrNoPartition},
		"data too large":      {0, Transaction{Data: make([]byte, 1<<20+1)}, ErrTooLarge},
		"too many locks":      {0, Transaction{Locks: make([]Lock, 65)}, ErrTooManyLocks},
		"key too long":        {0, Transaction{Key: strings.Repeat("k", 256)}, ErrInvalid},
		"mark below none":     {0, Transaction{HighWaterMark: -2}, ErrInvalid},
		"lock without a mode": {0, Transaction{Locks: []Lock{{LockID: account.ID(1)}}}, ErrInvalid},
	} {
		_, err := c.Append(ctx, test.partition, test.tx)
		require.ErrorIs(t, err, test.want, name)
	}
	require.Empty(t, f.seen())
}

func TestManyAppendsGroup(t *testing.T) {
	log := newFakeLog(4)
	f := log.start(t)
	c := dial(t, f.addr)
	ctx := testContext(t)
	const goroutines, each = 64, 50
	var wg sync.WaitGroup
	var failed atomic.Int32
	for g := range goroutines {
		wg.Go(func() {
			for range each {
				if _, err := c.Append(ctx, Partition(g%4), Transaction{Data: make([]byte, 1000), HighWaterMark: None}); err != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load())
	total := 0
	for p := range 4 {
		total += log.len(p)
	}
	require.Equal(t, goroutines*each, total)
	seq := uint64(0)
	for _, in := range f.seen() {
		require.Equal(t, seq, in.FirstSeq, "numbers follow each other")
		seq += uint64(len(in.Transactions))
		require.LessOrEqual(t, len(in.Transactions), 32)
	}
}
