package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// Why the ledger declines. errors.Is sees them through the runner's error.
var (
	ErrOverdraft  = errors.New("balance does not suffice")
	ErrNoAccount  = errors.New("there is no such account")
	ErrClosed     = errors.New("account is closed")
	ErrExists     = errors.New("account is open already")
	ErrNotEmpty   = errors.New("account is not empty")
	ErrSelf       = errors.New("sender and receiver are the same account")
	ErrAmount     = fmt.Errorf("amount must be above 0, and at most %s", Amount(AmountMax))
	ErrLimit      = fmt.Errorf("balance would be beyond %s", Amount(BalanceMax))
	ErrNotRefused = errors.New("transfer was not refused")
)

// What is guarded, by the number of the account. Nobody decides on the balance of
// an account of the house, but for the limits, so those take no locks.
//
// A balance has two locks, because what is decided on it depends on its two halves
// differently. A debit needs that nothing more has left the account than it has seen;
// what came in meanwhile can only make the balance suffice more. So debits don't
// look at the lock of credits, and an account that everybody pays into can still
// pay. That it is empty needs both.
const (
	debitsLock   waltz.LockName = "debits"   // what has left an account
	creditsLock  waltz.LockName = "credits"  // what has come in
	standingLock waltz.LockName = "standing" // whether it is open
)

// Order is a transfer to be made.
type Order struct {
	Key            string // the business key: of the orders in a partition with one, a single one is done
	From, To       Account
	AmountMinor    int64
	Type           string // the bank's word for it
	BookedOn       Date
	AllowOverdraft bool // the sender's balance may go below zero
}

// Ledger makes entries. Concurrent use is what it is for.
type Ledger[S any] struct {
	runner       *txcontext.Runner[S]
	books        func(S) Books
	partitionFor func(key string) waltz.Partition
}

// New returns a ledger that runs its transaction contexts on runner, reads the
// view's snapshots as books, and places accounts as partitionFor says.
func New[S any](runner *txcontext.Runner[S], books func(S) Books, partitionFor func(key string) waltz.Partition) *Ledger[S] {
	return &Ledger[S]{runner, books, partitionFor}
}

// PartitionOf returns where an account lives.
func (l *Ledger[S]) PartitionOf(a Account) waltz.Partition { return PartitionOf(a, l.partitionFor) }

// Transfer moves an amount between two accounts. Within a partition that is all of
// it; across two the result is of the TRANSFER_OUT, and a [Relay] does the rest.
func (l *Ledger[S]) Transfer(ctx context.Context, o Order, opts ...txcontext.Option) (txcontext.Result, error) {
	return l.runner.Run(ctx, l.transfer(o), opts...)
}

// Deposit is a transfer from the bank's own account beside o.To, which it opens if
// it is unknown. Withdraw is one to the account beside o.From.
func (l *Ledger[S]) Deposit(ctx context.Context, o Order, opts ...txcontext.Option) (txcontext.Result, error) {
	o.From = Bank(l.PartitionOf(o.To))
	return l.Transfer(ctx, o, opts...)
}

// Withdraw is a transfer to the bank's own account beside o.From. With
// AllowOverdraft it opens an unknown account.
func (l *Ledger[S]) Withdraw(ctx context.Context, o Order, opts ...txcontext.Option) (txcontext.Result, error) {
	o.To = Bank(l.PartitionOf(o.From))
	return l.Transfer(ctx, o, opts...)
}

func (l *Ledger[S]) transfer(o Order) txcontext.Context[S] {
	here, there := l.PartitionOf(o.From), l.PartitionOf(o.To)
	e := Entry{
		Kind: KindTransfer, Type: o.Type, BookedOn: o.BookedOn, AmountMinor: o.AmountMinor,
		From: o.From, To: o.To, AllowOverdraft: o.AllowOverdraft,
		Postings: pair(o.From, o.To, o.AmountMinor),
	}
	if here != there {
		e.Kind, e.Postings = KindOut, pair(o.From, Transit(here), o.AmountMinor)
	}
	return l.context(here, o.Key, func(ctx context.Context, b Books, tx *txcontext.Builder) error {
		if err := o.check(); err != nil {
			return txcontext.Decline(err)
		}
		sender, other, err := b.Parties(ctx, o.From, e.Postings[1].Account)
		if err != nil {
			return err
		}
		if err := debit(sender, tx, o); err != nil {
			return err
		}
		if here == there {
			if err := credit(other, tx, o); err != nil {
				return err
			}
		}
		if err := withinBoth(sender, other, e.Postings); err != nil {
			return err
		}
		return e.put(tx)
	})
}

func (o *Order) check() error {
	switch {
	case o.AmountMinor <= 0 || o.AmountMinor > AmountMax:
		return ErrAmount
	case o.From == o.To:
		return ErrSelf
	}
	return nil
}

// debit checks the sender and takes its locks. Relying on the balance takes the lock
// for write: of two such debits computed from one balance, the second is refused.
func debit(s Standing, tx *txcontext.Builder, o Order) error {
	if !o.From.IsCustomer() {
		return nil
	}
	if err := o.takesPart(s, o.From, o.To); err != nil {
		return err
	}
	tx.Read(standingLock.ID(uint64(o.From)))
	if o.AllowOverdraft {
		tx.Append(debitsLock.ID(uint64(o.From)))
		return nil
	}
	if s.BalanceMinor < o.AmountMinor {
		return txcontext.Decline(fmt.Errorf("account %d: %w", o.From, ErrOverdraft))
	}
	tx.Write(debitsLock.ID(uint64(o.From)))
	return nil
}

// credit checks the receiver and takes its locks, which any number of credits may
// take at once.
func credit(s Standing, tx *txcontext.Builder, o Order) error {
	if !o.To.IsCustomer() {
		return nil
	}
	if err := o.takesPart(s, o.To, o.From); err != nil {
		return err
	}
	tx.Read(standingLock.ID(uint64(o.To)))
	tx.Append(creditsLock.ID(uint64(o.To)))
	return nil
}

// takesPart declines for an account that is closed, or unknown: but cash, whose
// other side is the bank, opens it.
func (o *Order) takesPart(s Standing, a, other Account) error {
	switch {
	case s.Closed:
		return txcontext.Decline(fmt.Errorf("account %d: %w", a, ErrClosed))
	case !s.Known && other.IsCustomer():
		return txcontext.Decline(fmt.Errorf("account %d: %w", a, ErrNoAccount))
	}
	return nil
}

// context makes a transaction context of a function over books.
func (l *Ledger[S]) context(p waltz.Partition, key string, execute func(context.Context, Books, *txcontext.Builder) error) txcontext.Context[S] {
	return txcontext.Context[S]{Partition: p, Key: key, Execute: func(ctx context.Context, s S, tx *txcontext.Builder) error {
		return execute(ctx, l.books(s), tx)
	}}
}

func (e Entry) put(tx *txcontext.Builder) error { return e.Kind.Of().Put(tx, e) }
