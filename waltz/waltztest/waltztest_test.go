package waltztest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waltz-log/waltz/waltz"
	"github.com/waltz-log/waltz/waltz/waltztest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account waltz.LockName = "account"

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func write(id uint64, mark waltz.ID) waltz.Transaction {
	return waltz.Transaction{Locks: []waltz.Lock{account.ID(id).Write()}, HighWaterMark: mark}
}

func TestRealRules(t *testing.T) {
	l := waltztest.New(t, waltztest.WithPartitions(3))
	c := l.Client()
	require.Equal(t, 3, c.Partitions())
	id := l.Append(1, write(7, waltz.None))
	_, err := c.Append(soon(t), 1, write(7, waltz.None))
	var conflict *waltz.LockConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, id, conflict.TransactionID)
	_, err = c.Append(soon(t), 1, write(7, id))
	require.NoError(t, err)
	_, err = c.Append(soon(t), 2, write(7, waltz.None))
	require.NoError(t, err, "a lock guards its own partition")
	require.Len(t, l.All(1), 2)
	require.Len(t, l.All(2), 1)
	require.Empty(t, l.All(0))
}

func TestKeyIsALock(t *testing.T) {
	l := waltztest.New(t)
	c := l.Client()
	_, err := c.Append(soon(t), 0, waltz.Transaction{Key: "k", HighWaterMark: waltz.None})
	require.NoError(t, err)
	_, err = c.Append(soon(t), 0, waltz.Transaction{Key: "k", HighWaterMark: waltz.None})
	var conflict *waltz.LockConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, "k", l.All(0)[0].Key)
}

func TestFailNextAppend(t *testing.T) {
	l := waltztest.New(t)
	c := l.Client()
	for _, want := range []error{
		&waltz.LockConflictError{TransactionID: 5}, &waltz.StaleError{Floor: 9}, waltz.ErrTooLarge, waltz.ErrTooManyLocks, waltz.ErrInvalid,
	} {
		l.FailNextAppend(want)
		_, err := c.Append(soon(t), 0, waltz.Transaction{HighWaterMark: waltz.None})
		require.Error(t, err)
		if !errors.Is(err, want) {
			require.Equal(t, want, err)
		}
	}
	require.Empty(t, l.All(0))
	for i, waited := range []error{waltz.ErrUnavailable, waltz.ErrStorageFull, waltztest.ErrRequestLost, waltztest.ErrAnswerLost} {
		l.FailNextAppend(waited)
		id, err := c.Append(soon(t), 0, waltz.Transaction{HighWaterMark: waltz.None})
		require.NoError(t, err, "%v", waited)
		require.Equal(t, waltz.ID(i), id, "once, after %v", waited)
	}
}

func TestForceLockConflict(t *testing.T) {
	l := waltztest.New(t)
	c := l.Client()
	l.Append(0, waltz.Transaction{HighWaterMark: waltz.None})
	l.ForceLockConflict(2)
	for range 2 {
		_, err := c.Append(soon(t), 0, waltz.Transaction{HighWaterMark: 0})
		var conflict *waltz.LockConflictError
		require.ErrorAs(t, err, &conflict)
		require.Equal(t, waltz.ID(0), conflict.TransactionID)
	}
	_, err := c.Append(soon(t), 0, waltz.Transaction{HighWaterMark: 0})
	require.NoError(t, err)
}

// I4 under every fault at once.
func TestFailAppends(t *testing.T) {
	l := waltztest.New(t, waltztest.WithPartitions(2))
	c := l.Client()
	l.FailAppends(0.2, 7)
	l.Delay(100 * time.Microsecond)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 25 {
				data := fmt.Appendf(nil, "%d/%d", g, i)
				for {
					_, err := c.Append(soon(t), waltz.Partition(g%2), waltz.Transaction{Data: data, HighWaterMark: waltz.None})
					if _, conflict := errors.AsType[*waltz.LockConflictError](err); conflict {
						continue
					}
					if err != nil {
						t.Error(err)
					}
					break
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]int{}
	for p := range waltz.Partition(2) {
		for _, tx := range l.All(p) {
			seen[string(tx.Data)]++
		}
	}
	require.Len(t, seen, 200)
	for data, n := range seen {
		require.Equal(t, 1, n, data)
	}
}

func TestDelay(t *testing.T) {
	l := waltztest.New(t)
	c := l.Client()
	l.Delay(time.Hour)
	ctx, cancel := context.WithTimeout(soon(t), 20*time.Millisecond)
	defer cancel()
	_, err := c.Append(ctx, 0, waltz.Transaction{HighWaterMark: waltz.None})
	var unknown *waltz.UnknownError
	require.ErrorAs(t, err, &unknown)
	l.Delay(0)
	l.FailNextAppend(waltztest.ErrRequestLost) // breaks the stream that is held up
	_, err = l.Client().Append(soon(t), 0, waltz.Transaction{HighWaterMark: waltz.None})
	require.NoError(t, err)
}

func TestSuspendFeed(t *testing.T) {
	l := waltztest.New(t)
	c := l.Client()
	s, err := c.Subscribe(soon(t), waltz.SubscribeOptions{HighWaterMark: waltz.None})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	l.Append(0, waltz.Transaction{HighWaterMark: waltz.None})
	_, err = s.Next(soon(t), 0)
	require.NoError(t, err)
	l.SuspendFeed()
	l.SuspendFeed()
	l.Append(0, waltz.Transaction{HighWaterMark: waltz.None})
	short, cancel := context.WithTimeout(soon(t), 30*time.Millisecond)
	defer cancel()
	_, err = s.Next(short, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, l.All(0), 2, "reads go on")
	l.ResumeFeed()
	l.ResumeFeed()
	b, err := s.Next(soon(t), 0)
	require.NoError(t, err)
	require.Equal(t, waltz.ID(1), b.HighWaterMark)
}

func TestCodeThatDialsItself(t *testing.T) {
	l := waltztest.New(t)
	c, err := waltz.Dial(soon(t), waltztest.Address, waltz.WithSchemes(l.Scheme()))
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	l.ForceLockConflict(1)
	_, err = c.Append(soon(t), 0, waltz.Transaction{HighWaterMark: waltz.None})
	require.Error(t, err)
}

// The three modes of a feed, and what they left out, as the real server has it.
func TestFeedModes(t *testing.T) {
	l := waltztest.New(t)
	c := l.Client()
	const n = 300
	for i := range n {
		l.Append(0, waltz.Transaction{Header: waltz.Header(i % 3), Data: fmt.Appendf(nil, "entry %d", i), Key: fmt.Sprint("key", i), HighWaterMark: waltz.ID(i - 1)})
	}
	for name, o := range map[string]waltz.SubscribeOptions{
		"all":      {HighWaterMark: 99},
		"headers":  {HighWaterMark: 99, HeadersOnly: true},
		"filtered": {HighWaterMark: 99, Headers: []waltz.Header{1, 7}},
		"nothing":  {HighWaterMark: 99, Headers: []waltz.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := c.Subscribe(soon(t), o)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			var seen []waltz.Committed
			for mark := waltz.None; mark < n-1; {
				b, err := s.Next(soon(t), 50)
				require.NoError(t, err)
				mark = b.HighWaterMark
				seen = append(seen, b.Transactions...)
			}
			for _, tx := range seen {
				want := name == "all" || name == "filtered" && tx.Header == 1
				require.Equal(t, want, !tx.Skipped, tx.ID)
				require.Equal(t, fmt.Sprint("key", tx.ID), tx.Key)
				require.Equal(t, len(fmt.Sprintf("entry %d", tx.ID)), tx.DataLen)
				if want {
					require.Equal(t, fmt.Sprintf("entry %d", tx.ID), string(tx.Data))
				}
			}
			if name == "all" || name == "headers" {
				require.Len(t, seen, n-100)
			}
		})
	}
	bodies, err := c.Fetch(soon(t), 0, []waltz.ID{1, 100, 299})
	require.NoError(t, err)
	require.Equal(t, "entry 299", string(bodies[2].Data))
	_, err = c.Fetch(soon(t), 0, []waltz.ID{300})
	require.ErrorIs(t, err, waltz.ErrOutOfRange)
	ahead, err := c.Subscribe(soon(t), waltz.SubscribeOptions{HighWaterMark: 300})
	require.NoError(t, err)
	_, err = ahead.Next(soon(t), 0)
	require.ErrorIs(t, err, waltz.ErrOutOfRange)
	_, err = c.Append(soon(t), 0, waltz.Transaction{HighWaterMark: 300})
	require.ErrorIs(t, err, waltz.ErrInvalid)
}
