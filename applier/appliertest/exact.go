package appliertest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

func (s *suite[Tx, S]) comesLate() {
	s.post(0, 500)
	late := &faulty[Tx, S]{Database: s.connect()}
	entered, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	late.set(func(_ *applier.Step[Tx], apply func() error) error {
		first.Do(func() {
			close(entered)
			<-release
		})
		return apply()
	})
	second := s.openOn(late, s.options()).start()
	<-entered
	first1 := s.open(s.options()).start()
	first1.reach()
	first1.stop()
	close(release)
	s.eventually("the late one sees that all is done", func() bool { return second.Status()[0].Lost == 1 })
	end := s.post(0, 5)
	second.wait(0, end)
	status := second.Status()[0]
	require.Equal(s, uint64(500), status.Already+status.Applied-5, "what it held was applied already")
	require.Equal(s, uint64(5), status.Applied)
	s.exact()
}

// several runs instances against each other under load.
func (s *suite[Tx, S]) several(n int, o applier.Options) []*instance[Tx, S] {
	o.BatchTransactionsMax = 20
	var all []*instance[Tx, S]
	for range n {
		all = append(all, s.open(o).start())
	}
	for range 30 {
		s.post(0, 40)
		s.post(1, 40)
		for _, i := range all[:1] {
			i.reach()
		}
	}
	for _, i := range all {
		i.reach()
	}
	s.exact()
	return all
}

func (s *suite[Tx, S]) race() {
	var applied uint64
	for _, i := range s.several(2, s.options()) {
		for _, st := range i.Status() {
			applied += st.Applied
			require.NotEqual(s, applier.StateStopped, st.State)
		}
	}
	require.Equal(s, uint64(2400), applied, "each transaction was applied by one of them")
}

func (s *suite[Tx, S]) fenced() {
	o := s.options()
	o.HA = applier.Lease
	frozen, thaw := make(chan struct{}), make(chan struct{})
	var once sync.Once
	slow := o
	slow.Hooks.Applied = func(waltz.Partition, int, waltz.ID, time.Duration) { // stops its partition, as SIGSTOP would
		once.Do(func() {
			close(frozen)
			<-thaw
		})
	}
	s.log = NewLog("log-1", 1)
	a := s.open(slow).start()
	s.post(0, 10)
	<-frozen
	b := s.open(o).start()
	end := s.post(0, 10)
	b.wait(0, end)
	epoch := b.Status()[0].Epoch
	require.Positive(s, epoch)
	close(thaw)
	s.eventually("the one that was stopped stands by", func() bool { return a.Status()[0].State == applier.StateStandingBy })
	end = s.post(0, 10)
	a.wait(0, end)
	// A lease may pass on to the other at any time; what each applied was applied once.
	// Its counter may be a moment behind what the database shows.
	s.eventually("30 are counted", func() bool { return a.Status()[0].Applied+b.Status()[0].Applied == 30 })
	s.exact()
}

func (s *suite[Tx, S]) leasePasses() {
	s.log = NewLog("log-1", 1)
	o := s.options()
	o.HA = applier.Lease
	a := s.open(o).start()
	a.wait(0, s.post(0, 10))
	b := s.open(o).start()
	s.eventually("one has the lease, the other stands by", func() bool { return b.Status()[0].State == applier.StateStandingBy })
	a.stop()
	b.wait(0, s.post(0, 10))
	require.Equal(s, uint64(10), b.Status()[0].Applied)
	s.exact()
}

func (s *suite[Tx, S]) setBack() {
	s.log = NewLog("log-1", 1)
	i := s.open(s.options()).start()
	i.wait(0, s.post(0, 10))
	s.exec("UPDATE waltz_high_water_marks SET high_water_mark = -1, epoch = epoch + 1")
	s.exec("DELETE FROM entries")
	s.exec("UPDATE accounts SET balance = 0")
	s.post(0, 10)
	s.eventually("it begins again", func() bool { return s.mark(0) == 19 })
	s.exact()
}

func (s *suite[Tx, S]) unknownOutcome() {
	s.log = NewLog("log-1", 1)
	db := &faulty[Tx, S]{Database: s.connect()}
	i := s.openOn(db, s.options()).start()
	i.wait(0, s.post(0, 3))
	var lies atomic.Int32
	db.set(func(_ *applier.Step[Tx], apply func() error) error {
		switch lies.Add(1) {
		case 1: // the answer is lost
			return errors.Join(apply(), trouble(applier.ClassUnknown))
		case 2: // the request is lost
			return trouble(applier.ClassUnknown)
		}
		return apply()
	})
	i.wait(0, s.post(0, 1))
	s.exact()
	i.wait(0, s.post(0, 1))
	s.exact()
	require.Equal(s, uint64(2), i.Status()[0].Retries)
	require.Equal(s, uint64(5), i.Status()[0].Applied)
}

func (s *suite[Tx, S]) gap() {
	o := s.options()
	o.UnknownHeaders = applier.StopUnknown // so that the feed may leave out nothing
	s.post(0, 10)
	s.log.LeaveOut(0, 7)
	err := s.open(o).start().stopped()
	var gap *applier.GapError
	require.ErrorAs(s, err, &gap)
	require.Equal(s, applier.GapError{View: "bank", Partition: 0, After: 6, ID: 8}, *gap)
	require.LessOrEqual(s, s.mark(0), waltz.ID(6))
	s.exact()
}

func (s *suite[Tx, S]) otherLog() {
	i := s.open(s.options()).start()
	i.wait(0, s.post(0, 5))
	i.stop()
	_, err := applier.Open(s.Context(), NewLog("log-2", 3), s.connect(), s.options(), s.handlers()...)
	var other *applier.LogIdentityError
	require.ErrorAs(s, err, &other)
	require.Equal(s, "log-1", other.Want)
	require.Equal(s, "log-2", other.Got)
	require.Equal(s, int64(2), s.count("SELECT count(*) FROM waltz_high_water_marks"), "no row was added for its partitions")
	s.exact()
}

func (s *suite[Tx, S]) ahead() {
	i := s.open(s.options()).start()
	i.wait(0, s.post(0, 5))
	i.stop()
	s.log = NewLog("log-1", 2) // restored from an older state
	s.post(0, 3)
	err := s.open(s.options()).start().stopped()
	var ahead *applier.AheadError
	require.ErrorAs(s, err, &ahead)
	require.Equal(s, waltz.ID(4), ahead.ViewMark)
	require.Equal(s, waltz.ID(2), ahead.LogMark)
	require.Equal(s, waltz.ID(4), s.mark(0))
	require.Equal(s, int64(5), s.count("SELECT count(*) FROM entries"))
}

func (s *suite[Tx, S]) swallowed() {
	s.post(0, 5)
	err := s.open(s.options(), applier.On(posted, func(ctx context.Context, tx Tx, r waltz.Record[posting]) error {
		if r.ID == 3 {
			_ = s.Exec(ctx, tx, entry, 0, 1, 1, 1, "") // there already
			if s.Exec(ctx, tx, balance, 1, 1) == nil && !s.Late {
				s.Error("the handle goes on after an error")
			}
			return nil
		}
		return s.apply(ctx, tx, r)
	})).start().stopped()
	var stopped *applier.TransactionError
	require.ErrorAs(s, err, &stopped)
	require.Equal(s, waltz.ID(3), stopped.ID)
	require.Equal(s, applier.ClassData, stopped.Fault.Class)
	require.NotEmpty(s, stopped.Fault.Code, "the error is the one that was swallowed")
	require.Equal(s, waltz.ID(2), s.mark(0))
	s.exact()
}

func (s *suite[Tx, S]) escapes() {
	for _, query := range []string{
		"COMMIT", "rollback", " /* hidden */ BEGIN", "SAVEPOINT a", "CREATE TABLE escaped (id int)", "DROP TABLE entries",
		"DELETE FROM entries; COMMIT", "-- comment\nALTER TABLE entries ADD COLUMN x int", "SET autocommit = 1", "",
	} {
		s.log.Append(0, waltz.Transaction{Header: closing.Header, Data: []byte("{}")})
		i := s.open(s.options(), applier.On(posted, s.apply), applier.On(closing, func(ctx context.Context, tx Tx, _ waltz.Record[posting]) error {
			_ = s.Exec(ctx, tx, balance, 1, 1)
			_ = s.Exec(ctx, tx, query)
			return nil
		}))
		err := i.start().stopped()
		var escape *applier.EscapeError
		require.ErrorAs(s, err, &escape, query)
		require.Equal(s, waltz.None, s.mark(0))
		s.exact()
	}
}

func (s *suite[Tx, S]) leaked() {
	s.post(0, 1)
	var leak Tx
	i := s.open(s.options(), applier.On(posted, func(ctx context.Context, tx Tx, r waltz.Record[posting]) error {
		leak = tx
		return s.apply(ctx, tx, r)
	})).start()
	i.reach()
	i.stop()
	var escape *applier.EscapeError
	require.ErrorAs(s, s.Exec(s.Context(), leak, balance, 1, 1), &escape)
	s.exact()
}

func (s *suite[Tx, S]) panics() {
	s.post(0, 5)
	err := s.open(s.options(), applier.On(posted, func(ctx context.Context, tx Tx, r waltz.Record[posting]) error {
		if err := s.apply(ctx, tx, r); err != nil {
			return err
		}
		if r.ID == 3 {
			panic("oops")
		}
		return nil
	})).start().stopped()
	var panicked *applier.PanicError
	require.ErrorAs(s, err, &panicked)
	require.Equal(s, "oops", panicked.Value)
	require.Contains(s, string(panicked.Stack), "appliertest")
	require.Equal(s, waltz.ID(2), s.mark(0))
	s.exact()
}

func (s *suite[Tx, S]) versions() {
	i := s.open(s.options()).start()
	i.wait(0, s.post(0, 5))
	i.stop()
	o := s.options()
	o.Version = 2
	seen := 0
	next := s.open(o, applier.On(posted, func(context.Context, Tx, waltz.Record[posting]) error { seen++; return nil })).start()
	next.wait(0, 4)
	next.stop()
	require.Equal(s, 5, seen)
	require.Equal(s, int64(4), s.count("SELECT count(*) FROM waltz_high_water_marks"))
	s.exact()
}
