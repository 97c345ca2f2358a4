package appliertest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

func (s *suite[Tx, S]) inOrder() {
	last := make([]waltz.ID, s.log.Partitions())
	for p := range last {
		last[p] = waltz.None
		for i := range 3000 { // no rows in common, so that no deadlock makes a batch come again
			s.append(waltz.Partition(p), posted, posting{Account: int64(p*accounts/2 + i%(accounts/2)), Amount: 1}, "")
		}
	}
	var mu sync.Mutex
	i := s.open(s.options(), applier.On(posted, func(ctx context.Context, tx Tx, r waltz.Record[posting]) error {
		mu.Lock()
		if r.ID != last[r.Partition]+1 {
			s.Errorf("transaction %d after %d", r.ID, last[r.Partition])
		}
		last[r.Partition] = r.ID
		mu.Unlock()
		return s.apply(ctx, tx, r)
	})).start()
	i.reach()
	s.exact()
	s.post(0, 10)
	i.reach()
	s.exact()
	i.stop()
}

func (s *suite[Tx, S]) runs() {
	s.log.Hold(true)
	for i := range 100 {
		s.append(0, posted, posting{Account: 1, Amount: 1}, "")
		if i%10 == 9 {
			s.append(0, closing, posting{}, "")
		}
	}
	var calls []string
	i := s.open(s.options(),
		applier.OnBatch(posted, func(ctx context.Context, tx Tx, rs []waltz.Record[posting]) error {
			calls = append(calls, fmt.Sprintf("posted %d-%d", rs[0].ID, rs[len(rs)-1].ID))
			for _, r := range rs {
				if err := s.apply(ctx, tx, r); err != nil {
					return err
				}
			}
			return nil
		}),
		applier.On(closing, func(_ context.Context, _ Tx, r waltz.Record[posting]) error {
			calls = append(calls, fmt.Sprintf("closing %d", r.ID))
			return nil
		})).start()
	s.log.Hold(false)
	i.reach()
	i.stop()
	var want []string
	for run := range 10 {
		want = append(want, fmt.Sprintf("posted %d-%d", run*11, run*11+9), fmt.Sprintf("closing %d", run*11+10))
	}
	require.Equal(s, want, calls)
	s.exact()
}

func (s *suite[Tx, S]) unordered() {
	s.log.Hold(true)
	for range 50 {
		s.append(0, posted, posting{Account: 1, Amount: 1}, "")
		s.append(0, closing, posting{}, "")
	}
	var calls []string
	i := s.open(s.options(),
		applier.Unordered(applier.OnBatch(posted, func(ctx context.Context, tx Tx, rs []waltz.Record[posting]) error {
			calls = append(calls, fmt.Sprintf("posted %d", len(rs)))
			for _, r := range rs {
				if err := s.apply(ctx, tx, r); err != nil {
					return err
				}
			}
			return nil
		})),
		applier.OnBatch(closing, func(_ context.Context, _ Tx, rs []waltz.Record[posting]) error {
			if len(calls) == 0 || !strings.HasPrefix(calls[len(calls)-1], "closing") {
				calls = append(calls, "closing")
			}
			return nil
		})).start()
	s.log.Hold(false)
	i.reach()
	i.stop()
	require.Equal(s, []string{"closing", "posted 50"}, calls)
	s.exact()
}

func (s *suite[Tx, S]) compose() {
	s.post(0, 3)
	var calls []string
	note := func(name string) applier.Handler[Tx] {
		return applier.On(posted, func(_ context.Context, _ Tx, r waltz.Record[posting]) error {
			calls = append(calls, fmt.Sprintf("%s %d", name, r.ID))
			return nil
		})
	}
	i := s.open(s.options(), append(s.handlers(), note("a"), note("b"))...).start()
	i.reach()
	i.stop()
	require.Equal(s, []string{"a 0", "b 0", "a 1", "b 1", "a 2", "b 2"}, calls)
	s.exact()
}

func (s *suite[Tx, S]) naturalBatches() {
	db := &faulty[Tx, S]{Database: s.connect()}
	entered, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	db.set(func(_ *applier.Step[Tx], apply func() error) error {
		first.Do(func() {
			close(entered)
			<-release
		})
		return apply()
	})
	i := s.openOn(db, s.options()).start()
	s.post(0, 1)
	<-entered
	end := s.post(0, 1500)
	s.eventually("the next batch is decoded while the first one is in the database", func() bool {
		return i.Status()[0].LogMark == end
	})
	close(release)
	i.reach()
	require.Equal(s, step{p: 0, old: waltz.None, new: 0, transactions: 1}, db.done()[0])
	require.LessOrEqual(s, len(db.done()), 4, "what arrived meanwhile comes in few batches: %v", db.done())
	s.exact()
}

func (s *suite[Tx, S]) boundedBatches() {
	o := s.options()
	o.BatchTransactionsMax = 100
	o.BatchBytesMax = 20_000
	s.post(0, 1050)
	s.log.Append(0, waltz.Transaction{Header: posted.Header, Data: []byte(`{"Account":1,"Amount":1,"Pad":"` + strings.Repeat("x", 30_000) + `"}`)})
	s.post(0, 10)
	db := &faulty[Tx, S]{Database: s.connect()}
	i := s.openOn(db, o).start()
	i.reach()
	for _, st := range db.done() {
		require.LessOrEqual(s, st.transactions, 100)
	}
	require.GreaterOrEqual(s, len(db.done()), 12)
	s.exact()
}

func (s *suite[Tx, S]) skipUnknown() {
	s.append(0, posted, posting{Account: 1, Amount: 1}, "key-0")
	s.log.Append(0, waltz.Transaction{Header: unhandled, Data: []byte("?")})
	s.log.Append(0, waltz.Transaction{Header: unhandled, Data: []byte("?"), Key: "key-2"})
	s.append(0, posted, posting{Account: 1, Amount: 1}, "")
	s.log.Append(0, waltz.Transaction{Header: unhandled, Data: []byte("?"), Key: "key-4"})
	i := s.open(s.options()).start()
	i.reach()
	require.Equal(s, waltz.ID(4), s.mark(0))
	require.Equal(s, int64(3), s.count("SELECT count(*) FROM waltz_keys"))
	require.Equal(s, int64(4), s.count("SELECT max(transaction_id) FROM waltz_keys"))
	s.exact()
}

func (s *suite[Tx, S]) stopUnknown() {
	s.post(0, 5)
	s.log.Append(0, waltz.Transaction{Header: unhandled, Data: []byte("?")})
	o := s.options()
	o.UnknownHeaders = applier.StopUnknown
	err := s.open(o).start().stopped()
	var stopped *applier.TransactionError
	require.ErrorAs(s, err, &stopped)
	require.Equal(s, waltz.ID(5), stopped.ID)
	require.ErrorContains(s, err, "header 99 has no handler")
	require.Equal(s, waltz.ID(4), s.mark(0))
	s.exact()
}

func (s *suite[Tx, S]) large() {
	const n = 20_000
	s.append(0, posted, posting{Account: 1, Amount: n}, "")
	s.append(0, posted, posting{Account: 2, Amount: 1}, "")
	var tries atomic.Int32
	i := s.open(s.options(), applier.On(posted, func(ctx context.Context, tx Tx, r waltz.Record[posting]) error {
		for i := range r.Value.Amount {
			if err := s.Exec(ctx, tx, balance, 1, r.Value.Account); err != nil {
				return err
			}
			if i == n/2 && tries.Add(1) == 1 {
				return trouble(applier.ClassRetry)
			}
		}
		return s.Exec(ctx, tx, entry, int(r.Partition), int64(r.ID), r.Value.Account, r.Value.Amount, "")
	})).start()
	i.reach()
	require.Equal(s, int32(2), tries.Load())
	s.exact()
}

func (s *suite[Tx, S]) sharedRows() {
	s.log = NewLog("log-1", 8)
	for p := range s.log.Partitions() {
		s.post(waltz.Partition(p), 1000)
	}
	o := s.options()
	o.BatchTransactionsMax = 50
	i := s.open(o).start()
	i.reach()
	s.exact()
}
