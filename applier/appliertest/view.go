package appliertest

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

func (s *suite[Tx, S]) snapshots() {
	o := s.options()
	o.BatchTransactionsMax = 37
	i := s.open(o).start()
	end := s.post(0, 3000)
	for mark := waltz.None; mark < end; {
		require.NoError(s, i.Snapshot(s.Context(), 0, func(ctx context.Context, v S, at waltz.ID) error {
			require.GreaterOrEqual(s, at, mark, "snapshots don't go back")
			mark = at
			for range 2 { // the same all the time
				n, err := s.Read(ctx, v, "SELECT count(*) FROM entries WHERE partition_number = 0")
				require.NoError(s, err)
				require.Equal(s, int64(at)+1, n)
			}
			return nil
		}))
	}
	require.ErrorIs(s, i.Snapshot(s.Context(), 0, func(context.Context, S, waltz.ID) error { return errTrouble }), errTrouble)
	require.ErrorIs(s, i.Snapshot(s.Context(), 7, nil), waltz.ErrNoPartition)
	var leak S
	require.NoError(s, i.Snapshot(s.Context(), 0, func(_ context.Context, v S, _ waltz.ID) error { leak = v; return nil }))
	_, err := s.Read(s.Context(), leak, "SELECT count(*) FROM entries")
	require.Error(s, err, "a snapshot ends with its call")
}

func (s *suite[Tx, S]) keys() {
	for n := range 200 {
		s.append(0, posted, posting{Account: 1, Amount: 1}, fmt.Sprintf("order-%d", n))
	}
	again := s.append(0, posted, posting{Account: 1, Amount: 1}, "order-7")
	odd := "\x00\xff'; --" // keys are bytes
	s.append(0, posted, posting{Account: 1, Amount: 1}, odd)
	i := s.open(s.options()).start()
	i.reach()
	require.NoError(s, i.Snapshot(s.Context(), 0, func(ctx context.Context, v S, _ waltz.ID) error {
		for key, want := range map[string]waltz.ID{"order-0": 0, "order-7": 7, "order-199": 199, odd: again + 1} {
			id, found, err := i.Key(ctx, v, 0, key)
			require.NoError(s, err)
			require.True(s, found, key)
			require.Equal(s, want, id, key)
		}
		for p, key := range []string{"order-200", "order-7"} { // not at all, and not in that partition
			_, found, err := i.Key(ctx, v, waltz.Partition(p), key)
			require.NoError(s, err)
			require.False(s, found)
		}
		return nil
	}))
	s.exact()
}

func (s *suite[Tx, S]) waits() {
	applying := s.open(s.options()).start()
	other := s.open(s.options()) // does not run: it has to look
	for range 20 {
		end := s.post(0, 3)
		for _, i := range []*instance[Tx, S]{applying, other} {
			i.wait(0, end)
			require.NoError(s, i.Snapshot(s.Context(), 0, func(ctx context.Context, v S, mark waltz.ID) error {
				require.GreaterOrEqual(s, mark, end)
				n, err := s.Read(ctx, v, "SELECT count(*) FROM entries WHERE partition_number = 0 AND id = ?", int64(end))
				require.Equal(s, int64(1), n)
				return err
			}))
		}
	}
}

func (s *suite[Tx, S]) waitEnds() {
	i := s.open(s.options()).start()
	i.wait(0, s.post(0, 3))
	ctx, cancel := context.WithTimeout(s.Context(), 20*time.Millisecond)
	defer cancel()
	err := i.WaitFor(ctx, 0, 100)
	require.ErrorIs(s, err, context.DeadlineExceeded)
	var wait *applier.WaitError
	require.ErrorAs(s, err, &wait)
	require.Equal(s, waltz.ID(2), wait.HighWaterMark)
	require.ErrorContains(s, err, "98 behind")
}

func (s *suite[Tx, S]) status() {
	s.log = NewLog("log-1", 1)
	db := &faulty[Tx, S]{Database: s.connect()}
	i := s.openOn(db, s.options())
	require.Equal(s, applier.StateIdle, i.Status()[0].State)
	db.set(func(*applier.Step[Tx], func() error) error { return trouble(applier.ClassBackOff) })
	i.start()
	s.post(0, 10)
	s.eventually("lag shows", func() bool {
		lag, err := i.Lag(0)
		return err == nil && lag.Transactions == 10 && lag.Age > 0
	})
	db.set(nil)
	i.reach()
	s.eventually("lag is gone", func() bool {
		lag, err := i.Lag(0)
		return err == nil && lag == applier.Lag{}
	})
	mark, err := i.HighWaterMark(s.Context(), 0)
	require.NoError(s, err)
	require.Equal(s, waltz.ID(9), mark)
	i.stop()
	require.Equal(s, applier.StateIdle, i.Status()[0].State)
}

func (s *suite[Tx, S]) lifecycle() {
	i := s.open(s.options()).start()
	i.wait(0, s.post(0, 3))
	require.ErrorIs(s, i.Run(s.Context()), applier.ErrRunning)
	i.stop()
	i.start() // it may run again
	i.wait(0, s.post(0, 3))
	require.NoError(s, i.Close())
	<-i.ended
	require.NoError(s, i.err)
	require.NoError(s, i.Close())
	require.ErrorIs(s, i.Run(s.Context()), applier.ErrClosed)
	s.exact()
}
