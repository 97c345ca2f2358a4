// Package berka reads and makes files in the format of the Berka bank's trans.asc:
// a header line, then rows of ten fields separated by semicolons, text in double
// quotes. It keeps of a row what the ledger books.
package berka

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
)

// The types of rows, in the bank's own words.
const (
	Income     = "PRIJEM" // credit
	Expense    = "VYDAJ"  // debit
	Withdrawal = "VYBER"  // debit
)

// fieldNames are a row's, and the header line's.
var fieldNames = []string{"trans_id", "account_id", "date", "type", "operation", "amount", "balance", "k_symbol", "bank", "account"}

// Row is one row of the file.
type Row struct {
	Line        int // in the file, from 1
	TransID     int64
	Account     ledger.Account
	Date        ledger.Date
	Type        string
	AmountMinor int64 // above 0
}

// Debit reports whether the row takes from the account.
func (r Row) Debit() bool { return r.Type != Income }

// Signed returns what the row adds to the account's balance.
func (r Row) Signed() int64 {
	if r.Debit() {
		return -r.AmountMinor
	}
	return r.AmountMinor
}

// parseRow reads one line, and reports the first thing wrong with it.
func parseRow(line string) (r Row, err error) {
	fields, err := split(line)
	if err != nil {
		return r, err
	}
	if len(fields) != len(fieldNames) {
		return r, fmt.Errorf("%d fields, want %d", len(fields), len(fieldNames))
	}
	if r.TransID, err = number(fields[0]); err != nil {
		return r, fmt.Errorf("trans_id %w", err)
	}
	account, err := number(fields[1])
	if err != nil {
		return r, fmt.Errorf("account_id %w", err)
	}
	r.Account = ledger.Account(account)
	if r.Date, err = date(fields[2]); err != nil {
		return r, err
	}
	if r.Type = fields[3]; !slices.Contains([]string{Income, Expense, Withdrawal}, r.Type) {
		return r, fmt.Errorf("type %s: want %s, %s or %s", quoted(r.Type), Income, Expense, Withdrawal)
	}
	if r.AmountMinor, err = minor(fields[5]); err != nil {
		return r, fmt.Errorf("amount %w", err)
	}
	if r.AmountMinor <= 0 {
		return r, fmt.Errorf("amount %s: want more than 0", quoted(fields[5]))
	}
	if r.AmountMinor > ledger.AmountMax {
		return r, fmt.Errorf("amount %s: too large, want at most %s", quoted(fields[5]), ledger.Amount(ledger.AmountMax))
	}
	if _, err = minor(fields[6]); err != nil && fields[6] != "" {
		return r, fmt.Errorf("balance %w", err)
	}
	return r, nil
}

// split takes a line apart; semicolons inside quotes separate nothing.
func split(line string) (fields []string, err error) {
	for {
		var field, rest string
		var more bool
		if strings.HasPrefix(line, `"`) {
			end := strings.IndexByte(line[1:], '"')
			if end < 0 {
				return nil, errors.New("a quote is not closed")
			}
			field, rest = line[1:1+end], line[2+end:]
			if rest, more = strings.CutPrefix(rest, ";"); !more && rest != "" {
				return nil, fmt.Errorf("%s after a closing quote", quoted(rest))
			}
		} else {
			field, rest, more = strings.Cut(line, ";")
		}
		fields = append(fields, field)
		if !more {
			return fields, nil
		}
		line = rest
	}
}

func number(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) && n > 0 {
		return 0, fmt.Errorf("%s: too large, want at most %d", quoted(s), int64(math.MaxInt64))
	}
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s: want a whole number above 0", quoted(s))
	}
	return n, nil
}

// quotedMax bounds what an error shows of a field.
const quotedMax = 60

// quoted shows a field as it stands in the file, but for what no terminal should get.
func quoted(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			return r
		}
		return '?'
	}, s)
	if runes := []rune(s); len(runes) > quotedMax {
		s = string(runes[:quotedMax]) + "..."
	}
	return `"` + s + `"`
}

// date reads yymmdd, of the twentieth century as all of the bank's are.
func date(s string) (ledger.Date, error) {
	t, err := time.Parse("20060102", "19"+s)
	if err != nil || len(s) != 6 {
		return "", fmt.Errorf("date %s: want it as yymmdd", quoted(s))
	}
	return ledger.DateOf(t), nil
}

// minor reads an amount with at most two decimals as minor units.
func minor(s string) (int64, error) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, decimals, _ := strings.Cut(digits, ".")
	bad := fmt.Errorf("%s: want a number with at most two decimals", quoted(s))
	if len(decimals) > 2 || !isDigits(whole) || decimals != "" && !isDigits(decimals) {
		return 0, bad
	}
	n, err := strconv.ParseInt(whole+(decimals + "00")[:2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: too large, want at most %s", quoted(s), ledger.Amount(ledger.AmountMax))
	}
	if negative {
		n = -n
	}
	return n, nil
}

func isDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}
