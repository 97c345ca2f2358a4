package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"strconv"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/waltz"
)

// position writes a transaction as P:ID.
func position(p waltz.Partition, id waltz.ID) string { return fmt.Sprintf("%d:%d", p, id) }

// atLeast waits until the view shows the transaction that the caller names, if any.
func (a *API) atLeast(ctx context.Context, q url.Values) error {
	const parameter = "at_least"
	if !q.Has(parameter) {
		return nil
	}
	o, err := a.parsePosition(parameter, q.Get(parameter))
	if err != nil {
		return err
	}
	if err := a.Ledger.WaitFor(ctx, o.Partition, o.ID); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return viewBehind.because("transaction %s was not applied within %s", q.Get(parameter), a.RequestMax).dueTo(err)
		}
		return err
	}
	return nil
}

// balance is the answer about an account.
type balance struct {
	Account      int64  `json:"account"`
	Partition    int    `json:"partition"`
	BalanceMinor int64  `json:"balance_minor"`
	Transactions int64  `json:"transactions"`
	OpenedOn     string `json:"opened_on"`
	ClosedOn     string `json:"closed_on,omitempty"`
	AsOf         string `json:"as_of"` // the partition's mark
}

func (a *API) account(w http.ResponseWriter, r *http.Request) error {
	account, q, err := a.askedAccount(r)
	if err != nil {
		return err
	}
	p := a.Ledger.PartitionOf(account)
	var b balance
	if err := a.atLeast(r.Context(), q); err != nil {
		return err
	}
	err = a.Ledger.Read(r.Context(), p, func(ctx context.Context, s view.Snapshot, mark waltz.ID) error {
		found, known, err := view.FindAccount(ctx, s.Querier, account)
		if err != nil {
			return err
		}
		if !known {
			return noSuchAccount.because("account %d is not known as of transaction %s", account, position(p, mark))
		}
		b = balance{
			Account: int64(account), Partition: int(p), BalanceMinor: found.BalanceMinor, Transactions: found.Transactions,
			OpenedOn: string(found.OpenedOn), ClosedOn: string(found.ClosedOn), AsOf: position(p, mark),
		}
		return nil
	})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, b)
}

// askedAccount reads what the routes about an account have in common.
func (a *API) askedAccount(r *http.Request, more ...string) (ledger.Account, url.Values, error) {
	account, err := pathAccount(r)
	if err != nil {
		return 0, nil, err
	}
	q, err := query(r, append(more, "at_least")...)
	return account, q, err
}

// line is one of a statement.
type line struct {
	Transaction  string `json:"transaction"`
	BookedOn     string `json:"booked_on"`
	Kind         string `json:"kind"`
	Type         string `json:"type"`
	Counterparty int64  `json:"counterparty"`
	AmountMinor  int64  `json:"amount_minor"`
	BalanceMinor int64  `json:"balance_minor"`
	Status       string `json:"status,omitempty"`
}

type statement struct {
	Account    int64  `json:"account"`
	Lines      []line `json:"lines"`
	NextCursor string `json:"next_cursor,omitempty"`
	AsOf       string `json:"as_of"`
}

const (
	linesDefault = 100
	linesMax     = 1000
)

func (a *API) statement(w http.ResponseWriter, r *http.Request) error {
	account, q, err := a.askedAccount(r, "limit", "cursor")
	if err != nil {
		return err
	}
	page, err := pageOf(q, account)
	if err != nil {
		return err
	}
	if err := a.atLeast(r.Context(), q); err != nil {
		return err
	}
	p := a.Ledger.PartitionOf(account)
	found := statement{Account: int64(account)}
	err = a.Ledger.Read(r.Context(), p, func(ctx context.Context, s view.Snapshot, mark waltz.ID) error {
		found.Lines, found.NextCursor, found.AsOf = []line{}, "", position(p, mark)
		if _, known, err := view.FindAccount(ctx, s.Querier, account); err != nil {
			return err
		} else if !known {
			return noSuchAccount.because("account %d is not known as of transaction %s", account, found.AsOf)
		}
		return found.read(ctx, s.Querier, p, account, page)
	})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, found)
}

// read fills the page. One line more than fits tells that there is another page.
func (s *statement) read(ctx context.Context, q view.Querier, p waltz.Partition, a ledger.Account, page view.Page) error {
	last, lines := page, page.Lines
	page.Lines++
	return view.Statement(ctx, q, a, page, func(l view.Line) error {
		if len(s.Lines) == lines {
			s.NextCursor = cursor(a, last)
			return nil
		}
		last.After, last.BalanceMinor = l.ID, l.BalanceMinor
		s.Lines = append(s.Lines, line{
			Transaction: position(p, l.ID), BookedOn: string(l.BookedOn), Kind: string(l.Kind), Type: l.Type,
			Counterparty: int64(l.Counterparty), AmountMinor: l.AmountMinor, BalanceMinor: l.BalanceMinor, Status: l.Status,
		})
		return nil
	})
}

// pageOf reads which page is asked for.
func pageOf(q url.Values, a ledger.Account) (view.Page, error) {
	page := view.Page{After: waltz.None, Lines: linesDefault}
	if q.Has("limit") {
		n, err := strconv.Atoi(q.Get("limit"))
		if err != nil || n < 1 || n > linesMax {
			return page, malformed(fault{Detail: fmt.Sprintf("limit: want a whole number from 1 to %d", linesMax), Parameter: "limit"})
		}
		page.Lines = n
	}
	if q.Has("cursor") && !readCursor(q.Get("cursor"), a, &page) {
		return page, malformed(fault{Detail: "cursor: want a next_cursor of this account's statement, as it was", Parameter: "cursor"})
	}
	return page, nil
}

// cursor writes where a page ends, and the balance there: both never change, since
// an account's postings are only added to, in the order of their partition.
func cursor(a ledger.Account, page view.Page) string {
	s := fmt.Sprintf("%d.%d.%d", a, page.After, page.BalanceMinor)
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s.%08x", s, crc32.ChecksumIEEE([]byte(s))))
}

func readCursor(s string, a ledger.Account, page *view.Page) bool {
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return false
	}
	var of ledger.Account
	var sum uint32
	if n, err := fmt.Sscanf(string(text), "%d.%d.%d.%x", &of, &page.After, &page.BalanceMinor, &sum); n != 4 || err != nil {
		return false
	}
	return of == a && cursor(a, *page) == s
}
