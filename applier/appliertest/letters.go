package appliertest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// all is every ID, as a range for retries.
const all = waltz.ID(math.MaxInt64)

// obstruct makes transactions of partition 0 fail, with an error that is due to their
// data, until clear: the row that they insert is there already. It stands for
// a column that is too narrow.
func (s *suite[Tx, S]) obstruct(ids ...waltz.ID) {
	s.Helper()
	for _, id := range ids {
		s.exec(entry, 0, int64(id), -1, 0, "obstacle")
	}
}

func (s *suite[Tx, S]) clear() {
	s.Helper()
	s.exec("DELETE FROM entries WHERE account = -1")
}

// letters counts those in a state.
func (s *suite[Tx, S]) letters(state applier.LetterState) int64 {
	s.Helper()
	return s.count("SELECT count(*) FROM waltz_dead_letters WHERE state = ?", string(state))
}

// complete waits until an instance says that nothing is missing in partition 0.
func (i *instance[Tx, S]) complete() {
	i.s.Helper()
	i.s.eventually("the view is complete", func() bool {
		st := i.Status()[0]
		return st.Dead == 0 && st.Held == 0 && st.IncompleteSince == waltz.None
	})
}

// incomplete opens a view with dead letters.
func (s *suite[Tx, S]) incomplete(o applier.Options, n int, dead ...waltz.ID) *instance[Tx, S] {
	s.Helper()
	s.obstruct(dead...)
	s.post(0, n)
	o.Policy = applier.DeadLetter
	i := s.open(o).start()
	i.reach()
	require.Equal(s, int64(len(dead)), s.letters(applier.LetterDead))
	require.Equal(s, len(dead), i.Status()[0].Dead)
	require.Equal(s, dead[0], i.Status()[0].IncompleteSince)
	return i
}

func (s *suite[Tx, S]) retry() {
	i := s.incomplete(s.options(), 50, 10, 11, 40)
	r, err := i.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: 3, Failed: 3}, r, "nothing has changed")
	require.Equal(s, int64(3), s.count("SELECT count(*) FROM waltz_dead_letters WHERE state = 'dead' AND attempts = 2"))
	s.clear()
	s.exact(10, 11, 40)
	r, err = i.Retry(s.Context(), 0, 40, 40)
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: 1, Applied: 1}, r)
	s.exact(10, 11)
	i.stop()
	r, err = i.Retry(s.Context(), 0, 0, all) // nothing runs
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: 2, Applied: 2}, r)
	i.complete()
	s.exact()
	i.start()
	i.wait(0, s.post(0, 10))
	s.exact()
	require.Zero(s, s.count("SELECT count(*) FROM waltz_dead_letters"))
}

func (s *suite[Tx, S]) askedFor() {
	o := s.options()
	o.LettersEvery = 20 * time.Millisecond
	i := s.incomplete(o, 50, 10, 40)
	tool := s.connect()
	defer func() { require.NoError(s, tool.Close()) }()
	rows, err := tool.Rows(s.Context(), "")
	require.NoError(s, err)
	require.Len(s, rows, 2)
	require.Equal(s, []int{2, 0}, []int{rows[0].Dead, rows[1].Dead})
	require.Equal(s, waltz.ID(10), rows[0].FirstDead)
	none, err := tool.Rows(s.Context(), "other")
	require.NoError(s, err)
	require.Empty(s, none)

	s.clear()
	n, err := tool.Ask(s.Context(), rows[0].Ref, 10, 10, "somebody")
	require.NoError(s, err)
	require.Equal(s, 1, n)
	s.eventually("an idle applier looks", func() bool { return i.Status()[0].Dead == 1 })
	s.exact(40)

	ended := make(chan struct{})
	go func() { // a busy one finds out by its compare-and-set
		defer close(ended)
		for range 50 {
			s.post(0, 20)
		}
	}()
	n, err = tool.Ask(s.Context(), rows[0].Ref, 0, all, "somebody")
	require.NoError(s, err)
	require.Equal(s, 1, n)
	i.complete()
	<-ended
	i.reach()
	s.exact()
	n, err = tool.Ask(s.Context(), rows[0].Ref, 0, all, "somebody")
	require.NoError(s, err)
	require.Zero(s, n)
}

func (s *suite[Tx, S]) askedWhileNobodyRuns() {
	i := s.incomplete(s.options(), 50, 10)
	i.stop()
	s.clear()
	rows, err := i.Database().Rows(s.Context(), "bank")
	require.NoError(s, err)
	_, err = i.Database().Ask(s.Context(), rows[0].Ref, 10, 10, "somebody")
	require.NoError(s, err)
	require.Equal(s, int64(1), s.count("SELECT count(*) FROM waltz_dead_letters WHERE state = 'retry' AND changed_by = 'somebody'"))
	n, err := i.Database().Ask(s.Context(), rows[0].Ref, 10, 10, "somebody else")
	require.NoError(s, err)
	require.Equal(s, 1, n, "one that is asked for already counts")
	again, err := i.Database().Rows(s.Context(), "bank")
	require.NoError(s, err)
	require.Equal(s, rows[0].Epoch+2, again[0].Epoch, "whoever is just failing with it is fenced")
	require.ErrorIs(s, i.Database().Failed(s.Context(), rows[0].Ref, rows[0].Epoch, applier.Letter{Committed: waltz.Committed{ID: 10}}), applier.ErrLost)
	require.Equal(s, int64(1), s.letters(applier.LetterRetry))
	s.exact(10)
	next := s.open(s.options()).start()
	next.complete()
	s.exact()
}

func (s *suite[Tx, S]) askedUnderLease() {
	o := s.options()
	o.HA, o.LettersEvery, o.LeaseDuration = applier.Lease, 20*time.Millisecond, time.Minute
	i := s.incomplete(o, 50, 10)
	other := s.open(o).start()
	s.eventually("the other one stands by", func() bool { return other.Status()[0].State == applier.StateStandingBy })
	require.Equal(s, i.Status()[0].Owner, other.Status()[0].Owner)
	s.clear()
	r, err := other.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	require.Equal(s, 1, r.Asked)
	i.complete()
	i.wait(0, s.post(0, 10))
	s.exact()
	require.Equal(s, applier.StateStandingBy, other.Status()[0].State, "the lease stayed where it was")
}

func (s *suite[Tx, S]) discarded() {
	i := s.incomplete(s.options(), 50, 10, 40)
	found, err := i.Discard(s.Context(), 0, 10, "booked by hand")
	require.NoError(s, err)
	require.True(s, found)
	require.Equal(s, waltz.ID(40), i.Status()[0].IncompleteSince)
	found, err = i.Discard(s.Context(), 0, 10, "again")
	require.NoError(s, err)
	require.False(s, found)
	found, err = i.Discard(s.Context(), 0, 11, "never was one")
	require.NoError(s, err)
	require.False(s, found)
	_, err = i.Discard(s.Context(), 0, 40, "that one, too")
	require.NoError(s, err)
	i.complete()
	s.clear()
	r, err := i.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	require.Zero(s, r)
	s.exact(10, 40)

	open, err := i.Letters(s.Context(), 0, applier.LetterQuery{After: waltz.None, Limit: 10})
	require.NoError(s, err)
	require.Empty(s, open)
	record, err := i.Letters(s.Context(), 0, applier.LetterQuery{After: waltz.None, Limit: 10, Discarded: true})
	require.NoError(s, err)
	require.Len(s, record, 2)
	require.Equal(s, "booked by hand", record[0].Reason)
	require.Equal(s, i.Status()[0].Owner, record[0].ChangedBy)
}

func (s *suite[Tx, S]) listed() {
	s.log.Hold(true)
	o := s.options()
	o.Policy, o.Instance = applier.DeadLetter, "me"
	i := s.open(o).start()
	key := "\x00\xff'; --"
	s.append(0, posted, posting{Account: 1, Amount: bad, Note: "noted"}, key)
	s.append(0, posted, posting{Account: 2, Amount: bad}, "")
	s.post(0, 1)
	s.log.Hold(false)
	i.reach()
	letters, err := i.Letters(s.Context(), 0, applier.LetterQuery{After: waltz.None, Limit: 1, Data: true})
	require.NoError(s, err)
	require.Len(s, letters, 1)
	l, in := letters[0], s.log.partitions[0][0]
	require.Equal(s, in, l.Committed)
	require.Equal(s, applier.LetterDead, l.State)
	require.Equal(s, []string{"posted", "data", "me", "", "", ""}, []string{l.Kind, l.Class, l.Instance, l.ViewKeys, l.Reason, l.ChangedBy})
	require.NotEmpty(s, l.Code)
	require.NotEmpty(s, l.Text)
	require.Equal(s, 1, l.Attempts)
	require.WithinDuration(s, time.Now(), l.FailedAt, time.Hour)
	letters, err = i.Letters(s.Context(), 0, applier.LetterQuery{After: 0, Limit: 10})
	require.NoError(s, err)
	require.Len(s, letters, 1)
	require.Equal(s, waltz.ID(1), letters[0].ID)
	require.Empty(s, letters[0].Data)
	require.Equal(s, len(s.log.partitions[0][1].Data), letters[0].DataLen)
	_, err = i.Letters(s.Context(), 7, applier.LetterQuery{Limit: 1})
	require.ErrorIs(s, err, waltz.ErrNoPartition)
}

func (s *suite[Tx, S]) skipped() {
	s.obstruct(10, 20)
	s.post(0, 50)
	o := s.options()
	o.Policy = applier.Skip
	_, err := applier.Open(s.Context(), s.log, s.connect(), o, s.handlers()...)
	require.ErrorContains(s, err, "IKnowThisLosesData")
	o.IKnowThisLosesData = true
	var told atomic.Int32
	o.Hooks.Skipped = func(_ waltz.Partition, id waltz.ID, f applier.Fault) { told.Add(int32(id)) }
	i := s.open(o).start()
	i.reach()
	s.clear()
	s.exact(10, 20)
	require.Equal(s, int64(2), i.Status()[0].Skipped)
	require.Equal(s, int32(30), told.Load())
	require.Zero(s, s.count("SELECT count(*) FROM waltz_dead_letters"))
	require.Zero(s, i.Status()[0].Dead)
	i.stop()
	require.Equal(s, int64(2), s.open(o).Status()[0].Skipped, "after a restart, too")
}

// skippedInARow: what looks like wrong configuration stops this policy, too.
func (s *suite[Tx, S]) skippedInARow() {
	var places []int
	for i := 5; i < 30; i++ {
		places = append(places, i)
	}
	s.poisoned(40, places...)
	o := s.options()
	o.Policy, o.IKnowThisLosesData = applier.Skip, true
	err := s.open(o).start().stopped()
	require.ErrorContains(s, err, "in a row")
	require.Equal(s, waltz.ID(14), s.mark(0))
}

func (s *suite[Tx, S]) meaning() {
	o := s.options()
	o.Policy, o.Meaning = applier.DeadLetter, "release 1"
	s.post(0, 5)
	i := s.open(o).start()
	i.reach()
	s.obstruct(5, 7)
	s.post(0, 10)
	i.reach() // 5 and 7 are dead letters: it is the data
	i.stop()
	require.Equal(s, int64(1), s.count("SELECT count(*) FROM waltz_high_water_marks WHERE meaning_hash = 'release 1' AND partition = 0"))

	s.obstruct(15)
	s.post(0, 5)
	o.Meaning = "release 2"
	err := s.open(o).start().stopped()
	var first *applier.TransactionError
	require.ErrorAs(s, err, &first)
	require.True(s, first.First)
	require.Equal(s, waltz.ID(15), first.ID)
	require.Equal(s, applier.ClassConfiguration, first.Fault.Class)
	require.ErrorContains(s, err, "meaning changed")
	require.ErrorAs(s, s.open(o).start().stopped(), &first, "however often it is started")
	require.Equal(s, waltz.ID(14), s.mark(0))

	o.Meaning = "release 1"
	i = s.open(o).start()
	i.wait(0, 19)
	s.clear()
	s.exact(5, 7, 15)

	// Two releases at once: one that has applied something need not prove itself again
	// because the other one has, too.
	i.stop()
	o.Meaning = "release 2"
	next := s.open(o).start()
	next.wait(0, s.post(0, 1))
	s.exec("UPDATE waltz_high_water_marks SET meaning_hash = 'release 1', epoch = epoch + 1")
	s.obstruct(21)
	next.wait(0, s.post(0, 5))
	s.clear()
	s.exact(5, 7, 15, 21)
}

func (s *suite[Tx, S]) retryUnknownOutcome() {
	i := s.incomplete(s.options(), 50, 10, 11, 12)
	i.stop()
	s.clear()
	db := &faulty[Tx, S]{Database: s.connect()}
	var lies atomic.Int32
	db.set(func(st *applier.Step[Tx], apply func() error) error {
		switch lies.Add(1) {
		case 1: // the request is lost
			return trouble(applier.ClassUnknown)
		case 2: // trouble that passes
			return trouble(applier.ClassBackOff)
		case 3: // the answer is lost
			return errors.Join(apply(), trouble(applier.ClassUnknown))
		}
		return apply()
	})
	r, err := s.openOn(db, s.options()).Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: 3, Applied: 3}, r)
	s.exact()
}

// retriesRace: however many retry and apply at once, everything is applied once.
func (s *suite[Tx, S]) retriesRace() {
	var dead []waltz.ID
	for id := waltz.ID(3); id < 60; id += 7 {
		dead = append(dead, id)
	}
	o := s.options()
	o.LettersEvery = time.Millisecond
	instances := []*instance[Tx, S]{s.incomplete(o, 100, dead...)}
	for range 3 {
		instances = append(instances, s.open(o).start())
	}
	s.clear()
	errs := make(chan error)
	for n, i := range instances {
		go func() {
			var err error
			for _, id := range dead {
				_, failed := i.Retry(s.Context(), 0, id-waltz.ID(n), id)
				err = errors.Join(err, failed)
			}
			errs <- err
		}()
	}
	for range 30 {
		s.post(0, 20)
	}
	for range instances {
		require.NoError(s, <-errs)
	}
	for _, i := range instances {
		i.reach()
		i.complete()
	}
	s.exact()
}

// A handler that has gone, or data that it can't decode, leaves a letter dead.
func (s *suite[Tx, S]) retryWithoutHandler() {
	s.incomplete(s.options(), 20, 10).stop()
	s.clear()
	i := s.open(s.options(), applier.On(closing, func(context.Context, Tx, waltz.Record[posting]) error { return nil }))
	r, err := i.Retry(s.Context(), 0, 10, 10)
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: 1, Failed: 1}, r)
	letters, err := i.Letters(s.Context(), 0, applier.LetterQuery{After: waltz.None, Limit: 10})
	require.NoError(s, err)
	require.Contains(s, letters[0].Text, fmt.Sprintf("header %d has no handler", posted.Header))
	require.Equal(s, applier.CodeNoHandler, letters[0].Code)
	require.Equal(s, 2, letters[0].Attempts)
	s.exact(10)
}
