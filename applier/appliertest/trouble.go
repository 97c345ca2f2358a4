package appliertest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// bad is an amount that the table's own check refuses.
const bad = 666

// poisoned appends n postings of which those at the given places are bad.
func (s *suite[Tx, S]) poisoned(n int, places ...int) {
	for i := range n {
		v := posting{Account: int64(i % accounts), Amount: 1}
		for _, p := range places {
			if i == p {
				v.Amount = bad
			}
		}
		s.append(0, posted, v, "")
	}
}

func (s *suite[Tx, S]) poisonStops() {
	s.log.Hold(true)
	s.poisoned(5000, 3210)
	db := &faulty[Tx, S]{Database: s.connect()}
	i := s.openOn(db, s.options()).start()
	s.log.Hold(false)
	s.stopsAt(i, db, 3210)
}

func (s *suite[Tx, S]) stopsAt(i *instance[Tx, S], db *faulty[Tx, S], id waltz.ID) {
	s.Helper()
	err := i.stopped()
	var stopped *applier.TransactionError
	require.ErrorAs(s, err, &stopped)
	require.Equal(s, id, stopped.ID)
	require.Equal(s, waltz.Partition(0), stopped.Partition)
	require.Equal(s, posted.Header, stopped.Header)
	require.Equal(s, "posted", stopped.Kind)
	require.Equal(s, applier.ClassData, stopped.Fault.Class)
	require.NotEmpty(s, stopped.Fault.Code)
	require.ErrorContains(s, err, stopped.Fault.Code)
	require.Equal(s, id-1, s.mark(0), "everything before it is in")
	require.LessOrEqual(s, len(db.done()), 5000/256+2+30, "at most 30 extra SQL transactions: %v", db.done())
	require.Equal(s, applier.StateStopped, i.Status()[0].State)
	require.Equal(s, int64(1), s.count("SELECT count(*) FROM waltz_high_water_marks WHERE state = 'stopped' AND last_error_code = ?", stopped.Fault.Code))
	s.exact()
}

// A dead letter costs no more than stopping does.
func (s *suite[Tx, S]) poisonIsPassed() {
	s.log.Hold(true)
	s.poisoned(5000, 3210)
	db := &faulty[Tx, S]{Database: s.connect()}
	o := s.options()
	o.Policy = applier.DeadLetter
	i := s.openOn(db, o).start()
	s.log.Hold(false)
	i.reach()
	require.LessOrEqual(s, len(db.done()), 5000/256+2+30, "at most 30 extra SQL transactions: %v", db.done())
	s.exact(3210)
}

func (s *suite[Tx, S]) poisonWithoutBlame() {
	s.log.Hold(true)
	s.poisoned(5000, 77)
	db := &faulty[Tx, S]{Database: s.connect()}
	i := s.openOn(db, s.options(), applier.OnBatch(posted, func(ctx context.Context, tx Tx, rs []waltz.Record[posting]) error {
		for _, r := range rs {
			if err := s.apply(ctx, tx, r); err != nil {
				return err
			}
		}
		return nil
	})).start()
	s.log.Hold(false)
	s.stopsAt(i, db, 77)
}

func (s *suite[Tx, S]) deadLetter() {
	s.log.Hold(true)
	s.poisoned(100, 10, 11, 40)
	s.append(0, posted, posting{Account: 1, Amount: bad, Note: "secret"}, "order-7")
	s.append(0, posted, posting{Account: 1, Amount: 1}, "")
	o := s.options()
	o.Policy = applier.DeadLetter
	i := s.open(o).start()
	s.log.Hold(false)
	i.reach()
	s.exact(10, 11, 40, 100)
	require.Equal(s, int64(4), s.count("SELECT count(*) FROM waltz_dead_letters"))
	require.Equal(s, int64(1), s.count("SELECT count(*) FROM waltz_dead_letters WHERE transaction_id = 100 AND header = 10 AND kind = 'posted' AND error_class = 'data' AND error_code <> '' AND error <> ''"))
	require.Equal(s, int64(4), s.count("SELECT dead FROM waltz_high_water_marks WHERE partition = 0"))
	require.Equal(s, int64(1), s.count("SELECT count(*) FROM waltz_keys WHERE transaction_id = 100"), "the key was taken, whatever became of its transaction")
	status := i.Status()[0]
	require.Equal(s, 4, status.Dead)
	require.Equal(s, waltz.ID(10), status.IncompleteSince)
	i.stop()
	again := s.open(o)
	require.Equal(s, waltz.ID(10), again.Status()[0].IncompleteSince, "after a restart, too")
}

func (s *suite[Tx, S]) undecodable() {
	s.post(0, 3)
	s.log.Append(0, waltz.Transaction{Header: posted.Header, Data: []byte("{broken")})
	s.post(0, 3)
	stopped := s.open(s.options()).start().stopped()
	var te *applier.TransactionError
	require.ErrorAs(s, stopped, &te)
	require.Equal(s, waltz.ID(3), te.ID)
	require.Equal(s, applier.CodeDecode, te.Fault.Code)
	require.Equal(s, waltz.ID(2), s.mark(0))

	o := s.options()
	o.Policy = applier.DeadLetter
	i := s.open(o).start()
	i.wait(0, 6)
	require.Equal(s, int64(1), s.count("SELECT count(*) FROM waltz_dead_letters WHERE transaction_id = 3 AND error_code = 'decode'"))
	require.Equal(s, int64(6), s.count("SELECT count(*) FROM entries"))
}

func (s *suite[Tx, S]) retried() {
	s.log = NewLog("log-1", 1)
	db := &faulty[Tx, S]{Database: s.connect()}
	o := s.options()
	o.Policy = applier.DeadLetter
	i := s.openOn(db, o).start()
	for _, class := range []applier.Class{applier.ClassRetry, applier.ClassBackOff, applier.ClassPage} {
		before := i.Status()[0].Retries
		db.set(func(*applier.Step[Tx], func() error) error { return trouble(class) })
		end := s.post(0, 50)
		s.eventually("it shows that it is retrying", func() bool {
			st := i.Status()[0]
			return st.State == applier.StateRetrying && st.Retries >= before+3 && st.Fault.Class == class
		})
		require.False(s, i.Status()[0].Since.IsZero())
		require.ErrorIs(s, i.Status()[0].Err, errTrouble)
		db.set(nil)
		i.wait(0, end)
		s.eventually("it applies again", func() bool { return i.Status()[0].State == applier.StateApplying })
		s.exact()
	}
	require.Zero(s, s.count("SELECT count(*) FROM waltz_dead_letters"))
}

func (s *suite[Tx, S]) configuration() {
	s.post(0, 5)
	o := s.options()
	o.Policy = applier.DeadLetter
	err := s.open(o, applier.On(posted, func(ctx context.Context, tx Tx, r waltz.Record[posting]) error {
		if r.ID == 2 {
			return s.Exec(ctx, tx, "INSERT INTO no_such_table (id) VALUES (1)")
		}
		return s.apply(ctx, tx, r)
	})).start().stopped()
	var stopped *applier.TransactionError
	require.ErrorAs(s, err, &stopped)
	require.Equal(s, applier.ClassConfiguration, stopped.Fault.Class)
	require.Equal(s, waltz.ID(2), stopped.ID)
	require.Equal(s, waltz.ID(1), s.mark(0))
	require.Zero(s, s.count("SELECT count(*) FROM waltz_dead_letters"))
	s.exact()
}

func (s *suite[Tx, S]) tooManyDead() {
	s.poisoned(40, 1, 3, 5, 7, 9)
	o := s.options()
	o.Policy, o.DeadMax = applier.DeadLetter, 3
	err := s.open(o).start().stopped()
	var tooMany *applier.TooManyDeadError
	require.ErrorAs(s, err, &tooMany)
	var last *applier.TransactionError
	require.ErrorAs(s, err, &last)
	require.Equal(s, waltz.ID(7), last.ID)
	require.Equal(s, waltz.ID(6), s.mark(0))
	require.Equal(s, int64(3), s.count("SELECT count(*) FROM waltz_dead_letters"))
	s.exact(1, 3, 5)

	// Those that were tried again in vain are no news.
	i := s.open(o)
	r, err := i.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: 3, Failed: 3}, r)
	i.start().wait(0, 39)
	require.Equal(s, int64(5), s.count("SELECT count(*) FROM waltz_dead_letters"))
}

func (s *suite[Tx, S]) tenInARow() {
	var places []int
	for i := 5; i < 30; i++ {
		places = append(places, i)
	}
	s.poisoned(40, places...)
	o := s.options()
	o.Policy = applier.DeadLetter
	err := s.open(o).start().stopped()
	var last *applier.TransactionError
	require.ErrorAs(s, err, &last)
	require.Equal(s, applier.ClassConfiguration, last.Fault.Class)
	require.ErrorContains(s, err, "in a row")
	require.Equal(s, int64(10), s.count("SELECT count(*) FROM waltz_dead_letters"))
	require.Equal(s, waltz.ID(14), s.mark(0))
}

func (s *suite[Tx, S]) noValuesInLogs() {
	const secret = "secret-4711"
	s.log.Hold(true)
	s.post(0, 3)
	s.append(0, posted, posting{Account: 1, Amount: bad, Note: secret}, secret)
	s.append(0, closing, posting{Note: secret}, "")
	var out lockedBuffer
	o := s.options()
	o.Policy = applier.DeadLetter
	o.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	i := s.open(o, applier.On(posted, s.apply), applier.On(closing, func(_ context.Context, _ Tx, r waltz.Record[posting]) error {
		return fmt.Errorf("can't close %s", r.Value.Note)
	})).start()
	s.log.Hold(false)
	i.reach()
	_, err := i.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	i.stop()
	require.Contains(s, out.String(), "dead letter")
	require.Contains(s, out.String(), "can't be applied yet")
	require.NotContains(s, out.String(), secret)
	require.Equal(s, int64(1), s.count("SELECT count(*) FROM waltz_dead_letters WHERE error LIKE '%secret-4711%'"))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
