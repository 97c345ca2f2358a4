package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// opened is the answer to an opening.
type opened struct {
	Account      int64  `json:"account"`
	Partition    int    `json:"partition"`
	DepositMinor int64  `json:"deposit_minor"`
	OpenedOn     string `json:"opened_on"`
	Transaction  string `json:"transaction"`
}

func (a *API) openAccount(w http.ResponseWriter, r *http.Request) error {
	account, err := pathAccount(r)
	if err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	var deposit int64
	if err := readBody(r, number("deposit_minor", false, &deposit, 0, amountMax)); err != nil {
		return err
	}
	on := a.Today()
	res, err := a.run(r.Context(), func(ctx context.Context, opts ...txcontext.Option) (txcontext.Result, error) {
		return a.Ledger.Open(ctx, account, deposit, on, append(opts, txcontext.WaitApplied())...)
	})
	if err != nil {
		return a.refusal(err)
	}
	if res.AlreadyDone {
		first, err := a.booked(r.Context(), res.Partition, res.ID)
		if err != nil {
			return err
		}
		if first.AmountMinor != deposit {
			return accountExists.because("account %d was opened with a deposit of %d", account, first.AmountMinor)
		}
		on = first.BookedOn
	}
	replayed(w, res)
	w.Header().Set("Location", "/v1/accounts/"+account.String())
	return answer(w, http.StatusCreated, opened{int64(account), int(res.Partition), deposit, string(on), position(res.Partition, res.ID)})
}

// replayed tells that the answer is one of an earlier request.
func replayed(w http.ResponseWriter, res txcontext.Result) {
	if res.AlreadyDone {
		w.Header().Set("Idempotency-Replayed", "true")
	}
}

// transfer is the answer about a transfer.
type transfer struct {
	Transfer    string `json:"transfer"` // the transaction that it began with
	From        int64  `json:"from"`
	To          int64  `json:"to"`
	AmountMinor int64  `json:"amount_minor"`
	Type        string `json:"type"`
	BookedOn    string `json:"booked_on"`
	Status      string `json:"status"`
	Reason      string `json:"reason,omitempty"`
}

// transferKey is the business key of a transfer: the client's, of that sender. All of
// a sender's transfers are in one partition, where the log itself takes a key once. The
// prefix sets the clients' keys apart from the ledger's own.
func transferKey(from ledger.Account, key string) string {
	return "transfer:" + from.String() + "/" + key
}

func (a *API) transfer(w http.ResponseWriter, r *http.Request) error {
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	if _, err := query(r); err != nil {
		return err
	}
	o := ledger.Order{Type: "TRANSFER", BookedOn: a.Today()}
	if err := readOrder(r, &o); err != nil {
		return err
	}
	o.Key = transferKey(o.From, key)
	res, err := a.run(r.Context(), func(ctx context.Context, opts ...txcontext.Option) (txcontext.Result, error) {
		return a.Ledger.Transfer(ctx, o, opts...)
	})
	if err != nil {
		return a.refusal(err)
	}
	if res.AlreadyDone {
		if err := a.sameAs(r.Context(), res, &o); err != nil {
			return err
		}
	}
	return a.transferred(w, o, res)
}

func readOrder(r *http.Request, o *ledger.Order) error {
	var from, to int64
	err := readBody(r,
		number("from", true, &from, 1, accountMax),
		number("to", true, &to, 1, accountMax),
		number("amount_minor", true, &o.AmountMinor, 1, amountMax),
		text("type", &o.Type, typeMax))
	if err == nil && from == to {
		err = malformed(fault{Detail: "to: is the account that the transfer is from", Pointer: "#/to"})
	}
	o.From, o.To = ledger.Account(from), ledger.Account(to)
	return err
}

// transferred answers how a transfer began, which is the same for ever.
func (a *API) transferred(w http.ResponseWriter, o ledger.Order, res txcontext.Result) error {
	at := position(res.Partition, res.ID)
	code, status := http.StatusCreated, statusCompleted
	if a.Ledger.PartitionOf(o.To) != res.Partition {
		code, status = http.StatusAccepted, string(ledger.Pending)
	}
	replayed(w, res)
	w.Header().Set("Location", "/v1/transfers/"+at+"?at_least="+at) // the view may be behind
	return answer(w, code, transfer{at, int64(o.From), int64(o.To), o.AmountMinor, o.Type, string(o.BookedOn), status, ""})
}

// run runs a transaction context until its transaction is in the log. What is declined
// is decided again on the log as it is now: the view may have been behind.
func (a *API) run(ctx context.Context, do func(context.Context, ...txcontext.Option) (txcontext.Result, error)) (txcontext.Result, error) {
	res, err := do(ctx)
	if _, is := errors.AsType[*txcontext.DeclinedError](err); is {
		res, err = do(ctx, txcontext.Fresh())
	}
	if _, is := errors.AsType[*txcontext.NotAppliedError](err); is {
		err = nil // it is in the log, and so it is done
	}
	return res, err
}

// sameAs compares an order with the one that its key was used for, and takes the
// day on which that was booked.
func (a *API) sameAs(ctx context.Context, res txcontext.Result, o *ledger.Order) error {
	first, err := a.booked(ctx, res.Partition, res.ID)
	if err != nil {
		return err
	}
	if first.From != o.From || first.To != o.To || first.AmountMinor != o.AmountMinor || first.Type != o.Type {
		return keyReused.because("account %d has used it for transfer %s of %d to account %d: take another key for another transfer",
			first.From, position(res.Partition, res.ID), first.AmountMinor, first.To)
	}
	o.BookedOn = first.BookedOn
	return nil
}

// booked reads a transaction that the view is known to show.
func (a *API) booked(ctx context.Context, p waltz.Partition, id waltz.ID) (b view.Booked, err error) {
	err = a.Ledger.Read(ctx, p, func(ctx context.Context, s view.Snapshot, mark waltz.ID) error {
		var found bool
		if b, found, err = view.FindBooked(ctx, s.Querier, p, id); err == nil && !found {
			err = internal.because("see the server's log").dueTo(fmt.Errorf("view of %s does not know transaction %s", position(p, mark), position(p, id)))
		}
		return err
	})
	return b, err
}

const statusCompleted = "completed"

func (a *API) transferStatus(w http.ResponseWriter, r *http.Request) error {
	at, err := a.parsePosition("transfer", r.PathValue("transfer"))
	if err != nil {
		return err
	}
	q, err := query(r, "at_least")
	if err != nil {
		return err
	}
	if err := a.atLeast(r.Context(), q); err != nil {
		return err
	}
	var t transfer
	err = a.Ledger.Read(r.Context(), at.Partition, func(ctx context.Context, s view.Snapshot, mark waltz.ID) error {
		b, found, err := view.FindBooked(ctx, s.Querier, at.Partition, at.ID)
		if err != nil {
			return err
		}
		if !found || b.Kind != ledger.KindTransfer && b.Kind != ledger.KindOut {
			return noSuchTransfer.because("no transfer begins with transaction %s as of %s", position(at.Partition, at.ID), position(at.Partition, mark))
		}
		t = transfer{
			position(at.Partition, at.ID), int64(b.From), int64(b.To), b.AmountMinor, b.Type, string(b.BookedOn),
			statusCompleted, "",
		}
		if b.Kind == ledger.KindOut {
			t.Status, t.Reason = string(b.Status), b.Reason
		}
		return nil
	})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, t)
}

// reasons are why the ledger declines, as one word.
var reasons = []struct {
	err  error
	word string
}{
	{ledger.ErrOverdraft, "insufficient-balance"},
	{ledger.ErrNoAccount, "no-such-account"},
	{ledger.ErrClosed, "account-closed"},
	{ledger.ErrLimit, "balance-limit"},
}

// refusal turns what a run ended with into an answer.
func (a *API) refusal(err error) error {
	if _, is := errors.AsType[*txcontext.DeclinedError](err); is {
		return decline(err)
	}
	if _, is := errors.AsType[*waltz.UnknownError](err); is {
		return logUnavailable.because("it is not known whether this was done: send the same request again to find out").dueTo(err)
	}
	expired, is := errors.AsType[*txcontext.ExpiredError](err)
	switch {
	case is && expired.Last != nil:
		return contended.because("nothing was done: send the request again").dueTo(err)
	case is && !a.Ledger.Passes(err):
		return logUnavailable.because("nothing was done: send the request again").dueTo(err)
	case errors.Is(err, waltz.ErrUnavailable), errors.Is(err, waltz.ErrStorageFull), errors.Is(err, txcontext.ErrClosed), errors.Is(err, waltz.ErrClosed):
		return logUnavailable.because("send the request again").dueTo(err)
	}
	return err
}

func decline(err error) error {
	if errors.Is(err, ledger.ErrExists) {
		return accountExists.because("%s", reasonOf(err))
	}
	p := declined.because("%s", reasonOf(err))
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			p.Reason = r.word
		}
	}
	return p
}

// reasonOf is the ledger's own text.
func reasonOf(err error) string {
	if d, is := errors.AsType[*txcontext.DeclinedError](err); is {
		return d.Reason.Error()
	}
	return err.Error()
}
