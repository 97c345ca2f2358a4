package ledger

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/txcontext"
)

// Open opens an account with a first deposit, which may be 0. An account is opened
// once: opening it again ends as already done.
func (l *Ledger[S]) Open(ctx context.Context, a Account, depositMinor int64, on Date, opts ...txcontext.Option) (txcontext.Result, error) {
	p := l.PartitionOf(a)
	e := Entry{Kind: KindOpened, Type: "OPENING", BookedOn: on, Account: a, Currency: Currency, AmountMinor: depositMinor, Postings: []Posting{}}
	if depositMinor > 0 {
		e.From, e.To, e.Postings = Bank(p), a, pair(Bank(p), a, depositMinor)
	}
	return l.runner.Run(ctx, l.context(p, "open:"+a.String(), func(ctx context.Context, b Books, tx *txcontext.Builder) error {
		bank, s, err := b.Parties(ctx, Bank(p), a)
		switch {
		case err != nil:
			return err
		case s.Known:
			return txcontext.Decline(fmt.Errorf("account %d: %w", a, ErrExists))
		case depositMinor < 0 || depositMinor > AmountMax:
			return txcontext.Decline(ErrAmount)
		case !bank.within(-depositMinor):
			return txcontext.Decline(fmt.Errorf("account %d: %w", Bank(p), ErrLimit))
		}
		tx.Write(standingLock.ID(uint64(a)), debitsLock.ID(uint64(a)), creditsLock.ID(uint64(a)))
		return e.put(tx)
	}), opts...)
}

// Close closes an account for ever. It must be empty, with nothing of it pending:
// what is refused elsewhere must find the sender open.
func (l *Ledger[S]) Close(ctx context.Context, a Account, on Date, opts ...txcontext.Option) (txcontext.Result, error) {
	e := Entry{Kind: KindClosed, BookedOn: on, Account: a, Currency: Currency, Postings: []Posting{}}
	return l.runner.Run(ctx, l.context(l.PartitionOf(a), "close:"+a.String(), func(ctx context.Context, b Books, tx *txcontext.Builder) error {
		s, err := b.Standing(ctx, a)
		if err != nil {
			return err
		}
		pending, err := b.PendingFrom(ctx, a)
		switch {
		case err != nil:
			return err
		case !s.Known:
			return txcontext.Decline(fmt.Errorf("account %d: %w", a, ErrNoAccount))
		case pending || s.BalanceMinor != 0:
			return txcontext.Decline(fmt.Errorf("account %d: %w", a, ErrNotEmpty))
		}
		tx.Write(standingLock.ID(uint64(a)), debitsLock.ID(uint64(a)), creditsLock.ID(uint64(a)))
		return e.put(tx)
	}), opts...)
}
