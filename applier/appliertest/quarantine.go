package appliertest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// movement is a transaction of which the order matters: it changes two chains.
type movement struct{ From, To, Amount int64 }

var moved = waltz.Kind[movement]{Header: 12, Name: "moved", Codec: waltz.JSON[movement]()}

// chains is how many there are in each partition.
const chains = 12

// links makes a value that depends on everything that was ever linked, in its order.
func link(value, amount int64) int64 { return (value*31 + amount) % 1000003 }

func chain(p waltz.Partition, n int64) int64 { return int64(p)*100 + n }

func chainKey(n int64) string { return fmt.Sprintf("chain-%d", n) }

// chained prepares a view of chains.
func (s *suite[Tx, S]) chained() []applier.Handler[Tx] {
	s.exec("CREATE TABLE chains (id bigint PRIMARY KEY, value bigint NOT NULL)")
	for p := range s.log.Partitions() {
		for n := range int64(chains) {
			s.exec("INSERT INTO chains VALUES (?, 1)", chain(waltz.Partition(p), n))
		}
	}
	return []applier.Handler[Tx]{applier.Keyed(applier.On(moved, s.move), func(r waltz.Record[movement]) []string {
		return []string{chainKey(r.Value.From), chainKey(r.Value.To)}
	})}
}

func (s *suite[Tx, S]) move(ctx context.Context, tx Tx, r waltz.Record[movement]) error {
	if err := s.Exec(ctx, tx, entry, int(r.Partition), int64(r.ID), r.Value.From, 1, ""); err != nil {
		return err
	}
	for _, n := range []int64{r.Value.From, r.Value.To} {
		if err := s.Exec(ctx, tx, "UPDATE chains SET value = (value * 31 + ?) % 1000003 WHERE id = ?", r.Value.Amount, chain(r.Partition, n)); err != nil {
			return err
		}
	}
	return nil
}

// moves appends transactions between neighbours, so that quarantine spreads slowly.
func (s *suite[Tx, S]) moves(p waltz.Partition, rng *rand.Rand, n int) (last waltz.ID) {
	s.Helper()
	for range n {
		from := rng.Int64N(chains)
		v := movement{From: from, To: from ^ 1, Amount: rng.Int64N(1000)}
		if rng.IntN(40) == 0 {
			v.To = rng.Int64N(chains)
		}
		tx := waltz.Transaction{}
		require.NoError(s, moved.Put(&tx, v))
		last = s.log.Append(p, tx)
	}
	return last
}

// followed is the naive model: what becomes of partition 0 when some transactions
// can't be applied, and whether the view is that.
func (s *suite[Tx, S]) followed(bad ...waltz.ID) (dead, held int64) {
	s.Helper()
	want := make([]int64, chains)
	for n := range want {
		want[n] = 1
	}
	blocked := make(map[int64]bool)
	mark := s.mark(0)
	s.log.mu.Lock()
	for _, c := range s.log.partitions[0][:mark+1] {
		r, err := moved.Decode(c)
		require.NoError(s, err)
		from, to := r.Value.From, r.Value.To
		wait := blocked[from] || blocked[to]
		switch {
		case wait:
			held++
		case contains(bad, c.ID):
			dead++
		default:
			want[from] = link(want[from], r.Value.Amount)
			want[to] = link(want[to], r.Value.Amount)
			continue
		}
		blocked[from], blocked[to] = true, true
	}
	s.log.mu.Unlock()
	for n, value := range want {
		require.Equal(s, value, s.count("SELECT value FROM chains WHERE id = ?", chain(0, int64(n))), "chain %d at mark %d", n, mark)
	}
	require.Equal(s, held, s.letters(applier.LetterHeld))
	require.Equal(s, dead, s.letters(applier.LetterDead))
	return dead, held
}

func (s *suite[Tx, S]) quarantining() applier.Options {
	o := s.options()
	o.Policy, o.LettersEvery = applier.QuarantineKey, 20*time.Millisecond
	return o
}

func (s *suite[Tx, S]) quarantine() {
	handlers := s.chained()
	rng := rand.New(rand.NewPCG(1, 1))
	bad := []waltz.ID{20, 21, 150}
	s.obstruct(bad...)
	end := s.moves(0, rng, 300)
	o := s.quarantining()
	o.BatchTransactionsMax = 64
	i := s.open(o, handlers...).start()
	i.wait(0, end)
	dead, held := s.followed(bad...)
	require.Positive(s, held)
	st := i.Status()[0]
	require.Equal(s, int(dead+held), st.Dead)
	require.Equal(s, int(held), st.Held)
	require.Equal(s, waltz.ID(20), st.IncompleteSince)
	require.Equal(s, uint64(300-dead-held), st.Applied, "other keys go on")

	i.stop() // it is remembered
	i = s.open(o, handlers...).start()
	i.wait(0, s.moves(0, rng, 100))
	s.followed(bad...)

	r, err := i.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: int(dead), Failed: int(dead)}, r, "nothing has changed")
	s.followed(bad...)

	s.clear()
	r, err = i.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	require.Equal(s, int(dead), r.Applied)
	i.complete()
	s.followed()
	i.wait(0, s.moves(0, rng, 100))
	s.followed()
	require.Zero(s, s.count("SELECT count(*) FROM waltz_dead_letters"))
}

// A retry of one of several leaves held what the others hold.
func (s *suite[Tx, S]) quarantineRetriedInPart() {
	handlers := s.chained()
	for n := range int64(40) {
		tx := waltz.Transaction{}
		require.NoError(s, moved.Put(&tx, movement{From: n % 4, To: n % 4, Amount: n}))
		s.log.Append(0, tx)
	}
	s.obstruct(4, 5, 12)
	i := s.open(s.quarantining(), handlers...).start()
	i.wait(0, 39)
	s.followed(4, 5)
	s.exec("DELETE FROM entries WHERE id = 4 AND account = -1") // 12 is behind it and bad, too
	r, err := i.Retry(s.Context(), 0, 4, 4)
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: 1, Applied: 1}, r)
	s.followed(5, 12)
	require.Equal(s, waltz.ID(5), i.Status()[0].IncompleteSince)
	s.clear()
	r, err = i.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	require.Equal(s, applier.Retried{Asked: 2, Applied: 2}, r)
	i.complete()
	s.followed()
}

// A discard lets through what was held behind it, in order.
func (s *suite[Tx, S]) quarantineDiscarded() {
	handlers := s.chained()
	for n := range int64(40) {
		tx := waltz.Transaction{}
		require.NoError(s, moved.Put(&tx, movement{From: n % 4, To: n % 4, Amount: n}))
		s.log.Append(0, tx)
	}
	s.obstruct(4)
	i := s.open(s.quarantining(), handlers...).start()
	i.wait(0, 39)
	s.followed(4)
	s.eventually("nobody reads the row any more", func() bool { return i.Status()[0].Held == 8 })
	found, err := i.Discard(s.Context(), 0, 4, "the account is closed")
	require.NoError(s, err)
	require.True(s, found)
	i.complete()
	want := int64(1)
	for n := int64(0); n < 40; n += 4 {
		if n != 4 {
			want = link(link(want, n), n)
		}
	}
	require.Equal(s, want, s.count("SELECT value FROM chains WHERE id = 0"))
}

// Several instances, one of which comes and goes, retries that come too early, and
// obstacles that go away one after the other.
func (s *suite[Tx, S]) quarantineRaces() {
	handlers := s.chained()
	rng := rand.New(rand.NewPCG(2, 2))
	bad := []waltz.ID{15, 100, 220, 400}
	s.obstruct(bad...)
	o := s.quarantining()
	o.BatchTransactionsMax, o.LettersEvery, o.QuarantineMax = 20, time.Millisecond, 100_000
	troubled := &faulty[Tx, S]{Database: s.connect()}
	troubled.set(sometimes[Tx](rand.New(rand.NewPCG(3, 3))))
	instances := []*instance[Tx, S]{s.open(o, handlers...).start(), s.openOn(troubled, o, handlers...).start()}
	rounds := 40
	if os.Getenv("WALTZ_SOAK") != "" {
		rounds = 400
	}
	for round := range rounds {
		end := s.moves(0, rng, 15)
		s.moves(1, rng, 15)
		switch round % 4 {
		case 0:
			_, err := instances[0].Retry(s.Context(), 0, 0, all)
			require.NoError(s, err)
		case 1:
			instances[1].stop()
			instances[1].start()
		case 2:
			instances[0].wait(0, end)
			if id := bad[min(4*round/rounds, 3)]; s.mark(0) > id {
				s.exec("DELETE FROM entries WHERE id = ? AND account = -1", int64(id))
			}
		}
	}
	for _, i := range instances {
		i.reach()
	}
	s.clear()
	_, err := instances[1].Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	for _, i := range instances {
		i.complete()
	}
	for _, i := range instances {
		i.wait(0, s.moves(0, rng, 15))
	}
	s.followed()
	require.Zero(s, s.count("SELECT count(*) FROM waltz_dead_letters"))
}

// While an instance does not know the outcome of a step, the quarantine that the
// step was made for ends. The step must not be done again as it was.
func (s *suite[Tx, S]) quarantineUnknownOutcome() {
	s.log = NewLog("log-1", 1)
	handlers := s.chained()
	for n := range int64(20) {
		tx := waltz.Transaction{}
		require.NoError(s, moved.Put(&tx, movement{From: n % 4, To: n % 4, Amount: n}))
		s.log.Append(0, tx)
	}
	s.obstruct(4)
	db := &faulty[Tx, S]{Database: s.connect()}
	o := s.quarantining()
	o.LettersEvery = time.Hour
	i := s.openOn(db, o, handlers...).start()
	i.wait(0, 19)
	s.followed(4)
	other := s.open(o, handlers...)
	s.clear()
	var once sync.Once
	db.set(func(_ *applier.Step[Tx], apply func() error) error {
		err := error(nil)
		once.Do(func() {
			_, failed := other.Retry(s.Context(), 0, 0, all)
			err = errors.Join(failed, trouble(applier.ClassUnknown))
		})
		if err != nil {
			return err
		}
		return apply()
	})
	i.wait(0, s.moves(0, rand.New(rand.NewPCG(5, 5)), 20))
	s.followed()
	i.complete()
}

// While an instance does not know the outcome of a step, another moves the mark to
// the same place, and puts a letter on the way. That the mark is there does not say
// that the letter is not: what comes later has to wait behind it.
func (s *suite[Tx, S]) quarantineOfAnother() {
	s.log = NewLog("log-1", 1)
	handlers := s.chained()
	last := s.moves(0, rand.New(rand.NewPCG(6, 6)), 20)
	db := &faulty[Tx, S]{Database: s.connect()}
	o := s.quarantining()
	o.LettersEvery = time.Hour
	i, other := s.openOn(db, o, handlers...), s.open(o, handlers...)
	var once sync.Once
	done := make(chan struct{}) // the other one is gone again
	db.set(func(step *applier.Step[Tx], apply func() error) error {
		unknown := error(nil)
		if step.New == last {
			once.Do(func() {
				defer close(done)
				s.obstruct(last)
				other.start()
				other.wait(0, last)
				other.stop()
				unknown = trouble(applier.ClassUnknown)
			})
		}
		if unknown != nil {
			return unknown
		}
		return apply()
	})
	i.start()
	select {
	case <-done:
	case <-time.After(patience):
		require.Fail(s, "no step came to the last transaction")
	}
	i.wait(0, last)
	i.wait(0, s.moves(0, rand.New(rand.NewPCG(7, 7)), 40))
	dead, held := s.followed(last)
	require.Equal(s, int64(1), dead)
	require.Positive(s, held)
	status := i.Status()[0]
	require.Equal(s, int(dead+held), status.Dead)
	require.Equal(s, int(held), status.Held)
}

// sometimes makes trouble of the kinds that pass, before or after a step.
func sometimes[Tx any](rng *rand.Rand) func(*applier.Step[Tx], func() error) error {
	var mu sync.Mutex
	return func(_ *applier.Step[Tx], apply func() error) error {
		mu.Lock()
		n := rng.IntN(20)
		mu.Unlock()
		switch n {
		case 0:
			return trouble(applier.ClassRetry)
		case 1:
			return trouble(applier.ClassUnknown)
		case 2:
			return errors.Join(apply(), trouble(applier.ClassUnknown))
		}
		return apply()
	}
}

func (s *suite[Tx, S]) quarantineIsBounded() {
	handlers := s.chained()
	for n := range int64(400) {
		tx := waltz.Transaction{}
		require.NoError(s, moved.Put(&tx, movement{From: n % 4, To: n % 4, Amount: n}))
		s.log.Append(0, tx)
	}
	s.obstruct(5)
	o := s.quarantining()
	o.QuarantineMax, o.BatchTransactionsMax = 50, 10
	i := s.open(o, handlers...).start()
	err := i.stopped()
	var full *applier.QuarantineFullError
	require.ErrorAs(s, err, &full)
	require.Equal(s, 50, full.Max)
	require.Greater(s, full.Held, 50)
	_, held := s.followed(5)
	require.LessOrEqual(s, held, int64(50))
	s.clear()
	_, err = i.Retry(s.Context(), 0, 0, all)
	require.NoError(s, err)
	i = s.open(o, handlers...).start()
	i.wait(0, 399)
	s.followed()
}

// Where nobody can say which keys a transaction changes, nothing may pass it.
func (s *suite[Tx, S]) quarantineWithoutKeys() {
	handlers := s.chained()
	s.log.Append(0, waltz.Transaction{Header: moved.Header, Data: []byte("{broken")})
	err := s.open(s.quarantining(), handlers...).start().stopped()
	var stopped *applier.TransactionError
	require.ErrorAs(s, err, &stopped)
	require.Equal(s, waltz.None, s.mark(0))

	s.log = NewLog("log-1", 2)
	s.obstruct(0)
	s.moves(0, rand.New(rand.NewPCG(3, 3)), 5)
	err = s.open(s.quarantining(), applier.Keyed(applier.On(moved, s.move), func(waltz.Record[movement]) []string { panic("no keys") })).start().stopped()
	var panicked *applier.PanicError
	require.ErrorAs(s, err, &panicked)
	require.Equal(s, waltz.None, s.mark(0))

	_, err = applier.Open(s.Context(), s.log, s.connect(), s.quarantining(), s.handlers()...)
	require.ErrorContains(s, err, "wrap it with Keyed")
	_, err = applier.Open(s.Context(), s.log, s.connect(), s.options(), applier.Keyed(applier.On(moved, s.move), func(waltz.Record[posting]) []string { return nil }))
	require.ErrorContains(s, err, "not what its kind decodes to")
}

// Handlers of runs get them without what is held.
func (s *suite[Tx, S]) quarantineOfRuns() {
	handlers := s.chained()
	run := func(ctx context.Context, tx Tx, rs []waltz.Record[movement]) error {
		for _, r := range rs {
			if err := s.move(ctx, tx, r); err != nil {
				return err
			}
		}
		return nil
	}
	keys := func(r waltz.Record[movement]) []string { return []string{chainKey(r.Value.From), chainKey(r.Value.To)} }
	_ = handlers
	for n, h := range []applier.Handler[Tx]{applier.OnBatch(moved, run), applier.Unordered(applier.OnBatch(moved, run))} {
		rng := rand.New(rand.NewPCG(4, uint64(n)))
		s.exec("DELETE FROM entries")
		s.exec("UPDATE chains SET value = 1")
		s.exec("DELETE FROM waltz_high_water_marks")
		s.log = NewLog("log-1", 2)
		bad := []waltz.ID{30, 31, 90}
		s.obstruct(bad...)
		end := s.moves(0, rng, 200)
		i := s.open(s.quarantining(), applier.Keyed(h, keys)).start()
		i.wait(0, end)
		s.followed(bad...)
		s.clear()
		_, err := i.Retry(s.Context(), 0, 0, all)
		require.NoError(s, err)
		i.complete()
		s.followed()
		i.stop()
	}
}
