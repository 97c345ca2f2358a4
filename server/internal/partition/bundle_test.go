package partition

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/server/internal/fakestore"
	"github.com/waltz-log/waltz/server/internal/feed"
)

const (
	waitMax = 10 * time.Second
	tick    = time.Millisecond
)

// bundle is a partition over a fake log, and a client that remembers everything.
type bundle struct {
	*Partition
	t    require.TestingT
	log  *fakestore.Log
	tail *feed.Tail
	ctx  context.Context
	done func()

	mu      sync.Mutex
	clock   time.Time
	sent    []wire.Attempt // by number
	answers []answer       // by number
	pending int
	changed chan struct{}
	wrong   []string // answers that must not be
}

// answer is what one sending of an attempt got.
type answer struct {
	given bool
	id    txn.ID      // committed
	no    *wire.Error // refused
}

func start(t require.TestingT, change func(*Options)) *bundle {
	b := &bundle{t: t, log: fakestore.New(), tail: feed.NewCache(1 << 20).NewTail(), clock: time.UnixMicro(1_000_000), changed: make(chan struct{}, 1)}
	o := Options{
		Open: b.openSession, Tail: b.tail, Logger: slog.New(slog.DiscardHandler), Now: b.now,
		DataBytesMax: 1 << 20, LocksMax: 100, InboxBytesMax: 1 << 20, InFlightBytesMax: 1 << 20, FrameBytesMax: 1 << 16,
		WindowTransactions: 1 << 10, LockMarksMax: 1 << 12, SearchAttemptsMax: 100, SearchBytesMax: 1 << 20,
		StallMax: time.Millisecond, ReopenFirst: 100 * time.Microsecond, ReopenMax: time.Millisecond, ReopenDamaged: time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*waitMax)
	b.ctx = ctx
	b.Partition = New(o)
	b.done = func() {
		b.log.Hold(false)
		b.log.Stall(nil)
		_ = b.Close(ctx)
		b.log.End(0, nil)
		cancel()
	}
	return b
}

func (b *bundle) openSession(ctx context.Context, p txn.Partition, committed func(txn.ID)) (Session, error) {
	s, err := b.log.Open(ctx, p, committed)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (b *bundle) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clock
}

// ready waits until the partition is open.
func (b *bundle) ready() *bundle {
	b.eventually(func() bool { return b.Ready() == nil }, "the partition opens")
	return b
}

// lose ends the session, of whose frames in flight the first keep survive, and
// waits for the next one.
func (b *bundle) lose(keep int) {
	opens := b.Stats().Opens
	b.log.End(keep, nil)
	b.eventually(func() bool { return b.Stats().Opens > opens && b.Ready() == nil }, "another session opens")
}

func (b *bundle) eventually(ok func() bool, what string) {
	poll := time.NewTicker(50 * time.Microsecond)
	defer poll.Stop()
	for end := time.Now().Add(waitMax); !ok(); <-poll.C {
		require.True(b.t, time.Now().Before(end), "in vain: %s", what)
	}
}

// send submits attempts as one group and returns the number of the first.
func (b *bundle) send(attempts ...wire.Attempt) int {
	b.mu.Lock()
	first := len(b.sent)
	for i := range attempts {
		attempts[i].Seq = uint64(first + i)
	}
	b.sent = append(b.sent, attempts...)
	b.answers = append(b.answers, make([]answer, len(attempts))...)
	b.pending += len(attempts)
	b.mu.Unlock()
	require.NoError(b.t, b.Submit(b.ctx, Group{From: b, Attempts: attempts}))
	return first
}

// Committed implements Answerer.
func (b *bundle) Committed(c wire.Committed) {
	for i := range uint64(c.Count) {
		b.take(c.FirstSeq+i, answer{given: true, id: c.FirstID + txn.ID(i)})
	}
}

// Refused implements Answerer.
func (b *bundle) Refused(seq uint64, why wire.Error) {
	b.take(seq, answer{given: true, id: txn.None, no: &why})
}

func (b *bundle) take(seq uint64, a answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.answers[seq].given {
		b.wrong = append(b.wrong, "answered twice")
	}
	b.answers[seq] = a
	b.pending--
}

func (b *bundle) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pending
}

// await waits for all answers.
func (b *bundle) await() {
	b.eventually(func() bool { return b.waiting() == 0 }, "everything is answered")
}

func (b *bundle) answer(n int) answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.answers[n]
}

// append sends one attempt and waits for its answer.
func (b *bundle) append(a wire.Attempt) answer {
	n := b.send(a)
	b.eventually(func() bool { return b.answer(n).given }, "an answer")
	return b.answer(n)
}

// attempt makes a first sending; n is its request ID and its data.
func (b *bundle) attempt(n uint64, hwm txn.ID, locks ...txn.Lock) wire.Attempt {
	sent, _ := b.tail.Committed()
	return wire.Attempt{Request: request(n), ClientHWM: hwm, SentHWM: sent, Locks: locks, Data: binary.BigEndian.AppendUint64(nil, n)}
}

func request(n uint64) (r txn.RequestID) {
	binary.BigEndian.PutUint64(r[:], 7)
	binary.BigEndian.PutUint64(r[8:], n)
	return r
}

func again(a wire.Attempt) wire.Attempt {
	a.Resend = true
	return a
}

func lock(mode txn.LockMode, hash txn.LockHash) txn.Lock { return txn.Lock{Hash: hash, Mode: mode} }

// records returns the committed log.
func (b *bundle) records() []record.Record {
	all, err := b.log.Records()
	require.NoError(b.t, err)
	return all
}
