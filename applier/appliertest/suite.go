package appliertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// Database is a kind of database under test. Statements are written with ?
// for arguments and in SQL that all three understand.
type Database[Tx, S any] struct {
	// New makes an empty database that lives as long as the test.
	New func(t *testing.T) Empty[Tx, S]
	// Exec and Count use the handle of handlers; Count returns one integer. Read
	// uses a snapshot likewise.
	Exec  func(ctx context.Context, tx Tx, query string, args ...any) error
	Count func(ctx context.Context, tx Tx, query string, args ...any) (int64, error)
	Read  func(ctx context.Context, s S, query string, args ...any) (int64, error)
	// Late says that Exec does not wait for the answer, so that an error comes later.
	Late bool
}

// Empty is a database with the framework's tables and nothing else in it.
type Empty[Tx, S any] struct {
	// Connect opens it as one more instance does. The applier closes what it returns.
	Connect func() (applier.Database[Tx, S], error)
	// Exec and Count use a connection of the test's own.
	Exec  func(query string, args ...any) error
	Count func(query string, args ...any) (int64, error)
}

// patience bounds every wait for something that must happen.
const patience = 2 * time.Minute

// suite is one test on one new database.
type suite[Tx, S any] struct {
	*testing.T
	Database[Tx, S]
	db  Empty[Tx, S]
	log *Log
}

// posting is what the suite's transactions say: an amount for an account.
type posting struct {
	Account int64
	Amount  int64
	Note    string `json:",omitempty"`
}

var (
	posted  = waltz.Kind[posting]{Header: 10, Name: "posted", Codec: waltz.JSON[posting]()}
	closing = waltz.Kind[posting]{Header: 11, Name: "closing", Codec: waltz.JSON[posting]()}
)

// unhandled is a header that no handler of the suite wants.
const unhandled waltz.Header = 99

const (
	accounts = 20
	entry    = "INSERT INTO entries (partition_number, id, account, amount, note) VALUES (?, ?, ?, ?, ?)"
	balance  = "UPDATE accounts SET balance = balance + ? WHERE id = ?"
)

// Run proves the guarantees on a database.
func Run[Tx, S any](t *testing.T, d Database[Tx, S]) {
	for _, g := range guarantees[Tx, S]() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			s := &suite[Tx, S]{T: t, Database: d, db: d.New(t), log: NewLog("log-1", 2)}
			s.exec("CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL)")
			s.exec("CREATE TABLE entries (partition_number int NOT NULL, id bigint NOT NULL, account bigint NOT NULL, amount bigint NOT NULL, note varchar(20) NOT NULL, PRIMARY KEY (partition_number, id), CHECK (amount <> 666))")
			for i := range accounts {
				s.exec("INSERT INTO accounts VALUES (?, 0)", i)
			}
			g.prove(s)
		})
	}
}

type guarantee[Tx, S any] struct {
	name  string
	prove func(*suite[Tx, S])
}

func (s *suite[Tx, S]) exec(query string, args ...any) {
	s.Helper()
	require.NoError(s, s.db.Exec(query, args...))
}

func (s *suite[Tx, S]) count(query string, args ...any) int64 {
	s.Helper()
	n, err := s.db.Count(query, args...)
	require.NoError(s, err)
	return n
}

// post appends n postings to a partition.
func (s *suite[Tx, S]) post(p waltz.Partition, n int) waltz.ID {
	last := waltz.None
	for i := range n {
		last = s.append(p, posted, posting{Account: int64(i % accounts), Amount: int64(i%7 + 1)}, "")
	}
	return last
}

func (s *suite[Tx, S]) append(p waltz.Partition, k waltz.Kind[posting], v posting, key string) waltz.ID {
	s.Helper()
	tx := waltz.Transaction{Key: key}
	require.NoError(s, k.Put(&tx, v))
	return s.log.Append(p, tx)
}

// apply is the usual handler.
func (s *suite[Tx, S]) apply(ctx context.Context, tx Tx, r waltz.Record[posting]) error {
	if err := s.Exec(ctx, tx, entry, int(r.Partition), int64(r.ID), r.Value.Account, r.Value.Amount, r.Value.Note); err != nil {
		return err
	}
	return s.Exec(ctx, tx, balance, r.Value.Amount, r.Value.Account)
}

func (s *suite[Tx, S]) handlers() []applier.Handler[Tx] {
	return []applier.Handler[Tx]{applier.On(posted, s.apply)}
}

// options are quick to try again.
func (s *suite[Tx, S]) options() applier.Options {
	return applier.Options{
		Name: "bank", RetryMin: time.Millisecond, RetryMax: 20 * time.Millisecond, LeaseDuration: 300 * time.Millisecond,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// instance is one applier of the test.
type instance[Tx, S any] struct {
	*applier.Applier[Tx, S]
	s      *suite[Tx, S]
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, after ended
}

func (s *suite[Tx, S]) connect() applier.Database[Tx, S] {
	s.Helper()
	db, err := s.db.Connect()
	require.NoError(s, err)
	return db
}

func (s *suite[Tx, S]) open(o applier.Options, handlers ...applier.Handler[Tx]) *instance[Tx, S] {
	s.Helper()
	return s.openOn(s.connect(), o, handlers...)
}

func (s *suite[Tx, S]) openOn(db applier.Database[Tx, S], o applier.Options, handlers ...applier.Handler[Tx]) *instance[Tx, S] {
	s.Helper()
	if handlers == nil {
		handlers = s.handlers()
	}
	a, err := applier.Open(s.Context(), s.log, db, o, handlers...)
	require.NoError(s, err)
	i := &instance[Tx, S]{Applier: a, s: s}
	s.Cleanup(func() { require.NoError(s, a.Close()) })
	return i
}

// start runs the applier in the background.
func (i *instance[Tx, S]) start() *instance[Tx, S] {
	ctx, cancel := context.WithCancel(context.Background())
	i.cancel, i.ended = cancel, make(chan struct{})
	go func() {
		defer close(i.ended)
		i.err = i.Run(ctx)
	}()
	i.s.Cleanup(func() {
		cancel()
		<-i.ended
	})
	return i
}

// stop ends Run, which must return nil.
func (i *instance[Tx, S]) stop() {
	i.s.Helper()
	i.cancel()
	<-i.ended
	require.NoError(i.s, i.err)
}

// stopped waits until Run has returned by itself, and returns why.
func (i *instance[Tx, S]) stopped() error {
	i.s.Helper()
	select {
	case <-i.ended:
	case <-time.After(patience):
		require.FailNow(i.s, "the view did not stop", "%+v", i.Status())
	}
	require.Error(i.s, i.err)
	return i.err
}

// reach waits until the view shows everything in the log.
func (i *instance[Tx, S]) reach() {
	i.s.Helper()
	for p := range i.s.log.Partitions() {
		end, err := i.s.log.HighWaterMark(i.s.Context(), waltz.Partition(p))
		require.NoError(i.s, err)
		i.wait(waltz.Partition(p), end)
	}
}

func (i *instance[Tx, S]) wait(p waltz.Partition, id waltz.ID) {
	i.s.Helper()
	ctx, cancel := context.WithTimeout(i.s.Context(), patience)
	defer cancel()
	require.NoError(i.s, i.WaitFor(ctx, p, id))
}

// mark reads a mark from outside.
func (s *suite[Tx, S]) mark(p waltz.Partition) waltz.ID {
	s.Helper()
	return waltz.ID(s.count("SELECT high_water_mark FROM waltz_high_water_marks WHERE name = 'bank' AND version = 1 AND partition = ?", int(p)))
}

// exact proves I7 from outside: for each partition, the entries are those of
// exactly the transactions up to the mark, but for the ones left out; the
// balances are their sums.
func (s *suite[Tx, S]) exact(leftOut ...waltz.ID) {
	s.Helper()
	want := make(map[int64]int64)
	for p := range s.log.Partitions() {
		mark := s.mark(waltz.Partition(p))
		n, sum := s.expected(waltz.Partition(p), mark, leftOut, want)
		require.Equal(s, n, s.count("SELECT count(*) FROM entries WHERE partition_number = ?", p), "entries of partition %d at mark %d", p, mark)
		require.Equal(s, sum, s.count("SELECT coalesce(sum(id), 0) FROM entries WHERE partition_number = ?", p), "their IDs")
	}
	for a := range int64(accounts) {
		require.Equal(s, want[a], s.count("SELECT balance FROM accounts WHERE id = ?", a), "balance of account %d", a)
	}
}

// expected is the naive model: it adds the balances, and returns how many
// entries there should be and the sum of their IDs.
func (s *suite[Tx, S]) expected(p waltz.Partition, mark waltz.ID, leftOut []waltz.ID, balances map[int64]int64) (n, ids int64) {
	s.Helper()
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	for _, c := range s.log.partitions[p][:mark+1] {
		if c.Header != posted.Header || contains(leftOut, c.ID) {
			continue
		}
		r, err := posted.Decode(c)
		require.NoError(s, err)
		balances[r.Value.Account] += r.Value.Amount
		n++
		ids += int64(c.ID)
	}
	return n, ids
}

func contains(ids []waltz.ID, id waltz.ID) bool {
	for _, i := range ids {
		if i == id {
			return true
		}
	}
	return false
}

// eventually waits for a condition that something makes true.
func (s *suite[Tx, S]) eventually(what string, met func() bool) {
	s.Helper()
	require.Eventually(s, met, patience, 2*time.Millisecond, what)
}

// errTrouble is what the suite makes a database say.
var errTrouble = errors.New("made by the test")

// faulty is a database with trouble of the test's making.
type faulty[Tx, S any] struct {
	applier.Database[Tx, S]
	mu     sync.Mutex
	around func(step *applier.Step[Tx], apply func() error) error // nil: apply
	steps  []step
}

// step is what a database was asked to do.
type step struct {
	p            waltz.Partition
	old, new     waltz.ID
	transactions int
	err          error
}

func (f *faulty[Tx, S]) Apply(ctx context.Context, st *applier.Step[Tx]) error {
	f.mu.Lock()
	around := f.around
	f.mu.Unlock()
	apply := func() error { return f.Database.Apply(ctx, st) }
	if around == nil {
		around = func(_ *applier.Step[Tx], apply func() error) error { return apply() }
	}
	err := around(st, apply)
	f.mu.Lock()
	f.steps = append(f.steps, step{st.Partition, st.Old, st.New, st.Transactions, err})
	f.mu.Unlock()
	return err
}

func (f *faulty[Tx, S]) set(around func(*applier.Step[Tx], func() error) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.around = around
}

func (f *faulty[Tx, S]) done() []step {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]step{}, f.steps...)
}

func trouble(c applier.Class) error {
	return applier.WithClass(c, fmt.Errorf("%s: %w", c, errTrouble))
}
