package txcontext_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account waltz.LockName = "account"

// move is what the tests' transactions say: an amount for each account.
type move map[uint64]int64

// world is a naive log of one partition with its view, which is a prefix of the
// log. The lock check looks at every transaction above the mark (I5).
type world struct {
	delay   func() time.Duration                 // of an append, and of its applying; nil is none
	answer  func(id waltz.ID, err error) error   // replaces the answer of an append
	resolve func(*waltz.UnknownError) error      // fails Resolve
	gate    func(ctx context.Context) error      // an append waits here first
	floor   func(mark waltz.ID) (waltz.ID, bool) // whether a mark is stale

	mu struct {
		sync.Mutex
		log       []waltz.Transaction
		shown     waltz.ID
		changed   chan struct{} // closed and replaced whenever shown moves
		suspended bool
		appends   int
		waits     []waltz.ID
	}
}

func newWorld() *world {
	w := &world{}
	w.mu.shown, w.mu.changed = waltz.None, make(chan struct{})
	return w
}

func (w *world) runner(t testing.TB, o txcontext.Options) *txcontext.Runner[snapshot] {
	r, err := txcontext.NewRunner(w, w, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

func (w *world) pause() {
	if w.delay != nil {
		time.Sleep(w.delay()) // virtual time
	}
}

func (w *world) Append(ctx context.Context, p waltz.Partition, tx waltz.Transaction) (waltz.ID, error) {
	if w.gate != nil {
		if err := w.gate(ctx); err != nil {
			return waltz.None, &waltz.UnknownError{Partition: p, Err: err}
		}
	}
	w.pause()
	id, err := w.sequence(p, tx)
	w.pause()
	if w.answer != nil {
		err = w.answer(id, err)
	}
	return id, err
}

func (w *world) sequence(p waltz.Partition, tx waltz.Transaction) (waltz.ID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.appends++
	if w.floor != nil {
		if floor, stale := w.floor(tx.HighWaterMark); stale {
			return waltz.None, &waltz.StaleError{Partition: p, Floor: floor}
		}
	}
	for id := waltz.ID(len(w.mu.log)) - 1; id > tx.HighWaterMark; id-- {
		if conflicts(w.mu.log[id], tx) {
			return waltz.None, &waltz.LockConflictError{Partition: p, TransactionID: id}
		}
	}
	w.mu.log = append(w.mu.log, tx)
	id := waltz.ID(len(w.mu.log)) - 1
	if w.delay == nil {
		w.showLocked(id)
	}
	return id, nil
}

func conflicts(earlier, tx waltz.Transaction) bool {
	if tx.Key != "" && tx.Key == earlier.Key {
		return true
	}
	return slices.ContainsFunc(tx.Locks, func(l waltz.Lock) bool {
		return l.Mode.Checks() && slices.ContainsFunc(earlier.Locks, func(e waltz.Lock) bool {
			return e.LockID == l.LockID && e.Mode.Marks()
		})
	})
}

func (w *world) Resolve(_ context.Context, unknown *waltz.UnknownError) (waltz.ID, error) {
	if w.resolve != nil {
		if err := w.resolve(unknown); err != nil {
			return waltz.None, err
		}
	}
	return w.HighWaterMark(context.Background(), 0)
}

func (w *world) HighWaterMark(context.Context, waltz.Partition) (waltz.ID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return waltz.ID(len(w.mu.log)) - 1, nil
}

// commit appends as another process would.
func (w *world) commit(t testing.TB, m move, locks ...waltz.Lock) waltz.ID {
	data, err := json.Marshal(m)
	require.NoError(t, err)
	mark, err := w.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	id, err := w.sequence(0, waltz.Transaction{Data: data, Locks: locks, HighWaterMark: mark})
	require.NoError(t, err)
	return id
}

// show lets the view apply the log up to id.
func (w *world) show(id waltz.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	suspended := w.mu.suspended
	w.mu.suspended = false
	w.showLocked(id)
	w.mu.suspended = suspended
}

func (w *world) showLocked(id waltz.ID) {
	if w.mu.suspended || id <= w.mu.shown {
		return
	}
	w.mu.shown = id
	close(w.mu.changed)
	w.mu.changed = make(chan struct{})
}

func (w *world) suspend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.suspended = true
}

// apply follows the log with delays until ctx ends.
func (w *world) apply(ctx context.Context) {
	for ctx.Err() == nil {
		w.pause()
		mark, _ := w.HighWaterMark(ctx, 0)
		w.show(mark)
	}
}

// snapshot is the view's read-only handle: what the log held up to mark.
type snapshot struct {
	log []waltz.Transaction
}

func (s snapshot) balance(id uint64) (sum int64) {
	for _, tx := range s.log {
		var m move
		if err := json.Unmarshal(tx.Data, &m); err != nil {
			panic(err)
		}
		sum += m[id]
	}
	return sum
}

func (w *world) Snapshot(ctx context.Context, _ waltz.Partition, read func(context.Context, snapshot, waltz.ID) error) error {
	w.mu.Lock()
	mark, s := w.mu.shown, snapshot{w.mu.log[:w.mu.shown+1]}
	w.mu.Unlock()
	return read(ctx, s, mark)
}

func (w *world) Key(_ context.Context, s snapshot, _ waltz.Partition, key string) (waltz.ID, bool, error) {
	i := slices.IndexFunc(s.log, func(tx waltz.Transaction) bool { return tx.Key == key })
	return waltz.ID(i), i >= 0, nil
}

func (w *world) WaitFor(ctx context.Context, _ waltz.Partition, id waltz.ID) error {
	w.mu.Lock()
	w.mu.waits = append(w.mu.waits, id)
	for w.mu.shown < id {
		changed := w.mu.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for transaction %d: view is at another: %w", id, ctx.Err())
		}
		w.mu.Lock()
	}
	w.mu.Unlock()
	return nil
}

var errOverdraft = fmt.Errorf("overdraft")

// deposit adds to an account, alongside others.
func deposit(to uint64, amount int64) txcontext.Context[snapshot] {
	return txcontext.Context[snapshot]{Execute: func(_ context.Context, _ snapshot, b *txcontext.Builder) error {
		b.Append(account.ID(to))
		return put(b, move{to: amount})
	}}
}

// withdraw takes from an account what its balance allows.
func withdraw(from uint64, amount int64) txcontext.Context[snapshot] {
	return txcontext.Context[snapshot]{Execute: func(_ context.Context, s snapshot, b *txcontext.Builder) error {
		if s.balance(from) < amount {
			return txcontext.Decline(errOverdraft)
		}
		b.Write(account.ID(from))
		return put(b, move{from: -amount})
	}}
}

func put(b waltz.Putter, m move) error {
	return waltz.Kind[move]{Header: 7, Name: "move", Codec: waltz.JSON[move]()}.Put(b, m)
}
