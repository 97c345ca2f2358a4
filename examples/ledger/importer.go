package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/examples/ledger/berka"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// importer takes rows into the ledger. The rows of an account are a queue: the next
// one is appended when the one before is committed. Since each is keyed, what a
// killed import has left is finished by running it again.
type importer struct {
	*house
	importFlags
	stderr io.Writer
	queues [][]berka.Row

	imported, alreadyDone atomic.Int64
}

// queues sorts the rows by account, in the order of the file.
func queues(rows []berka.Row) (all [][]berka.Row) {
	place := map[ledger.Account]int{}
	for _, r := range rows {
		i, known := place[r.Account]
		if !known {
			i = len(all)
			place[r.Account] = i
			all = append(all, nil)
		}
		all[i] = append(all[i], r)
	}
	return all
}

func (i *importer) run(ctx context.Context, rows int) error {
	if err := i.caughtUp(ctx); err != nil { // so that the view knows what is done
		return err
	}
	if err := i.foresee(ctx); err != nil {
		return err
	}
	p := startProgress(i.stderr, "importing", rows, nil)
	defer p.stop()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(i.concurrency)
	for _, queue := range i.queues {
		g.Go(func() error { return i.account(gctx, queue, p) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return i.caughtUp(ctx)
}

// foresee finds overdrafts before anything is imported, if none is allowed. Another
// process may still bring one about; then the import stops at that row.
func (i *importer) foresee(ctx context.Context) error {
	if i.allowOverdraft {
		return nil
	}
	first, accounts := berka.Row{}, 0
	for _, queue := range i.queues {
		var row berka.Row
		found := false
		err := i.patiently(ctx, func() (err error) {
			row, found, err = i.overdraft(ctx, queue)
			return err
		})
		if err != nil {
			return err
		}
		if found {
			accounts++
			if first.Line == 0 || row.Line < first.Line {
				first = row
			}
		}
	}
	if accounts > 0 {
		return fmt.Errorf("line %d: account %d would go below zero, and of %s accounts in all some row would: nothing was imported; --allow-overdraft lets them",
			first.Line, first.Account, count(accounts))
	}
	return nil
}

// overdraft returns the first row of an account that its balance does not suffice
// for, leaving out the rows that are in already.
func (i *importer) overdraft(ctx context.Context, queue []berka.Row) (row berka.Row, found bool, err error) {
	p := i.ledger.PartitionOf(queue[0].Account)
	err = i.view.Snapshot(ctx, p, func(ctx context.Context, s view.Snapshot, _ waltz.ID) error {
		standing, err := view.NewBooks(s).Standing(ctx, queue[0].Account)
		if err != nil {
			return err
		}
		for _, row = range queue {
			_, done, err := i.view.Key(ctx, s, p, rowKey(row))
			if err != nil {
				return err
			}
			if done {
				continue
			}
			standing.BalanceMinor += row.Signed()
			if row.Debit() && standing.BalanceMinor < 0 {
				found = true
				return nil
			}
		}
		return nil
	})
	return row, found, err
}

func rowKey(r berka.Row) string { return "berka:" + strconv.FormatInt(r.TransID, 10) }

func (i *importer) account(ctx context.Context, queue []berka.Row, p *progress) error {
	for _, row := range queue {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		res, err := i.row(ctx, row)
		switch {
		case errors.Is(err, ledger.ErrOverdraft):
			return fmt.Errorf("line %d: account %d would go below zero by now; the import stopped; --allow-overdraft lets it", row.Line, row.Account)
		case err != nil:
			return fmt.Errorf("line %d: %w", row.Line, err)
		case res.AlreadyDone:
			i.alreadyDone.Add(1)
		default:
			i.imported.Add(1)
		}
		p.done.Add(1)
	}
	return nil
}

// row books one row. It is keyed, so it may be tried again after trouble.
func (i *importer) row(ctx context.Context, r berka.Row) (res txcontext.Result, err error) {
	err = i.patiently(ctx, func() error {
		res, err = i.book(ctx, r)
		return err
	})
	return res, err
}

func (i *importer) book(ctx context.Context, r berka.Row) (txcontext.Result, error) {
	o := ledger.Order{
		Key: rowKey(r), AmountMinor: r.AmountMinor, Type: r.Type, BookedOn: r.Date,
	}
	var opts []txcontext.Option
	if !i.allowOverdraft { // the next row is decided on the balance after this one
		opts = append(opts, txcontext.WaitApplied())
	}
	if r.Debit() {
		o.From, o.AllowOverdraft = r.Account, i.allowOverdraft
		return i.ledger.Withdraw(ctx, o, opts...)
	}
	o.To = r.Account
	return i.ledger.Deposit(ctx, o, opts...)
}
