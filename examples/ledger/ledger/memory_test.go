package ledger_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 2

// place puts even accounts into partition 0 and odd ones into 1.
func place(key string) waltz.Partition {
	return waltz.Partition(key[len(key)-1]-'0') % partitions
}

// memory is a naive log whose view is at once what the log holds.
type memory struct {
	broken    func(p waltz.Partition, tx waltz.Transaction) error // refuses an append
	meanwhile func()                                              // happens once, in front of the next append

	mu      sync.Mutex
	logs    [partitions][]waltz.Transaction
	entries [partitions][]ledger.Entry
	changed chan struct{}
}

func (m *memory) Append(_ context.Context, p waltz.Partition, tx waltz.Transaction) (waltz.ID, error) {
	if do := m.meanwhile; do != nil {
		m.meanwhile = nil
		do()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		if err := m.broken(p, tx); err != nil {
			return waltz.None, err
		}
	}
	log := m.logs[p]
	for id := waltz.ID(len(log)) - 1; id > tx.HighWaterMark; id-- {
		if conflicts(log[id], tx) {
			return waltz.None, &waltz.LockConflictError{Partition: p, TransactionID: id}
		}
	}
	var e ledger.Entry
	if err := (ledger.Codec{}).Decode(tx.Data, &e); err != nil {
		return waltz.None, err
	}
	m.logs[p] = append(log, tx)
	m.entries[p] = append(m.entries[p], e)
	close(m.changed)
	m.changed = make(chan struct{})
	return waltz.ID(len(log)), nil
}

func conflicts(earlier, tx waltz.Transaction) bool {
	return tx.Key != "" && tx.Key == earlier.Key || slices.ContainsFunc(tx.Locks, func(l waltz.Lock) bool {
		return l.Mode != waltz.LockAppend && slices.ContainsFunc(earlier.Locks, func(e waltz.Lock) bool {
			return e.LockID == l.LockID && e.Mode != waltz.LockRead
		})
	})
}

func (m *memory) Resolve(context.Context, *waltz.UnknownError) (waltz.ID, error) {
	panic("nothing is unknown here")
}

func (m *memory) HighWaterMark(_ context.Context, p waltz.Partition) (waltz.ID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return waltz.ID(len(m.logs[p])) - 1, nil
}

// snapshot is what the log held at a moment.
type snapshot struct {
	logs    [partitions][]waltz.Transaction
	entries [partitions][]ledger.Entry
}

func (m *memory) now() snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return snapshot{m.logs, m.entries}
}

func (m *memory) Snapshot(ctx context.Context, p waltz.Partition, read func(context.Context, snapshot, waltz.ID) error) error {
	s := m.now()
	return read(ctx, s, waltz.ID(len(s.logs[p]))-1)
}

func (m *memory) Key(_ context.Context, s snapshot, p waltz.Partition, key string) (waltz.ID, bool, error) {
	i := slices.IndexFunc(s.logs[p], func(tx waltz.Transaction) bool { return tx.Key == key })
	return waltz.ID(i), i >= 0, nil
}

func (m *memory) WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error {
	for {
		m.mu.Lock()
		there, changed := waltz.ID(len(m.logs[p])) > id, m.changed
		m.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// The books are worked out from all entries, each time anew.

func (s snapshot) Parties(ctx context.Context, from, to ledger.Account) (sender, receiver ledger.Standing, err error) {
	sender, _ = s.Standing(ctx, from)
	receiver, err = s.Standing(ctx, to)
	return sender, receiver, err
}

func (s snapshot) Standing(_ context.Context, a ledger.Account) (st ledger.Standing, _ error) {
	for _, e := range slices.Concat(s.entries[:]...) {
		st.Known = st.Known || e.Account == a
		st.Closed = st.Closed || e.Kind == ledger.KindClosed && e.Account == a
		for _, p := range e.Postings {
			if p.Account == a {
				st.Known, st.BalanceMinor = true, st.BalanceMinor+p.Signed()
			}
		}
	}
	return st, nil
}

func (s snapshot) Crossing(ctx context.Context, o ledger.Origin) (ledger.Crossing, bool, error) {
	all := s.crossings(o.Partition)
	i := slices.IndexFunc(all, func(c ledger.Crossing) bool { return c.Origin == o })
	if i < 0 {
		return ledger.Crossing{}, false, nil
	}
	return all[i], true, nil
}

func (s snapshot) Pending(_ context.Context, p waltz.Partition, above waltz.ID, limit int) ([]ledger.Crossing, error) {
	all := slices.DeleteFunc(s.crossings(p), func(c ledger.Crossing) bool {
		return c.ID <= above || c.Status == ledger.Credited || c.Status == ledger.Returned
	})
	return all[:min(limit, len(all))], nil
}

func (s snapshot) PendingFrom(ctx context.Context, a ledger.Account) (bool, error) {
	for p := range partitions {
		all, _ := s.Pending(ctx, waltz.Partition(p), waltz.None, 1<<30)
		if slices.ContainsFunc(all, func(c ledger.Crossing) bool { return c.From == a }) {
			return true, nil
		}
	}
	return false, nil
}

func (s snapshot) crossings(p waltz.Partition) (all []ledger.Crossing) {
	for id, e := range s.entries[p] {
		if e.Kind == ledger.KindOut {
			c := ledger.Crossing{
				Origin: ledger.Origin{Partition: p, ID: waltz.ID(id)}, From: e.From, To: e.To,
				AmountMinor: e.AmountMinor, BookedOn: e.BookedOn, Type: e.Type, Status: ledger.Pending,
			}
			all = append(all, s.followed(c))
		}
	}
	return all
}

// followed tells how far a transfer is: returned comes after refused.
func (s snapshot) followed(c ledger.Crossing) ledger.Crossing {
	became := map[ledger.Kind]ledger.Status{
		ledger.KindIn: ledger.Credited, ledger.KindRefused: ledger.Refused, ledger.KindReturned: ledger.Returned,
	}
	for _, e := range slices.Concat(s.entries[:]...) {
		if e.Origin != nil && *e.Origin == c.Origin && c.Status != ledger.Returned {
			c.Status, c.Reason = became[e.Kind], e.Reason
		}
	}
	return c
}

// bank is a ledger over a memory, with its relay.
type bank struct {
	*memory
	*ledger.Ledger[snapshot]
	*ledger.Relay[snapshot]
}

func newBank(t testing.TB) *bank { return newBankOn(t, &memory{changed: make(chan struct{})}) }

func newBankOn(t testing.TB, m *memory) *bank {
	r, err := txcontext.NewRunner(m, m, txcontext.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	l := ledger.New(r, func(s snapshot) ledger.Books { return s }, place)
	return &bank{m, l, ledger.NewRelay(l, m, slog.New(slog.DiscardHandler))}
}

// open opens an account with a balance.
func (b *bank) open(t testing.TB, a ledger.Account, balance int64) {
	_, err := b.Open(t.Context(), a, balance, "2026-01-02")
	require.NoError(t, err)
}

// raise puts an entry into the log that changes a balance by more than any transfer, as
// a long history would.
func (b *bank) raise(p waltz.Partition, a ledger.Account, by int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs[p] = append(b.logs[p], waltz.Transaction{})
	b.entries[p] = append(b.entries[p], ledger.Entry{Kind: ledger.KindTransfer, Postings: []ledger.Posting{{Account: a, Side: ledger.Credit, AmountMinor: by}}})
}

// relay settles what is pending.
func (b *bank) relay(t testing.TB) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx, partitions) }()
	require.NoError(t, b.Drain(t.Context(), partitions))
	cancel()
	require.NoError(t, <-done)
}

// balances writes the balances of accounts in a line.
func (b *bank) balances(accounts ...ledger.Account) string {
	all := make([]int64, len(accounts))
	for i, a := range accounts {
		s, _ := b.now().Standing(context.Background(), a)
		all[i] = s.BalanceMinor
	}
	return fmt.Sprint(all)
}

func order(key string, from, to ledger.Account, amount int64) ledger.Order {
	return ledger.Order{Key: key, From: from, To: to, AmountMinor: amount, Type: "TRANSFER", BookedOn: "2026-01-02"}
}
