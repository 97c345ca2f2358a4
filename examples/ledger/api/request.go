package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// Bounds of what requests may say. Numbers stay exact in any language's JSON.
const (
	accountMax = 1<<53 - 1
	amountMax  = ledger.AmountMax
	typeMax    = 32
	keyMax     = 200
)

// field is one of a body's: Set takes its value, as json.Decoder gives it with
// numbers as they were written.
type field struct {
	name     string
	required bool
	set      func(value any) (mistake string)
}

// number is a field for a whole number.
func number(name string, required bool, to *int64, least, most int64) field {
	return field{name, required, func(value any) string {
		n, is := value.(json.Number)
		if is {
			var err error
			if *to, err = strconv.ParseInt(n.String(), 10, 64); err == nil && *to >= least && *to <= most {
				return ""
			}
		}
		return fmt.Sprintf("want a whole number from %d to %d", least, most)
	}}
}

// text is a field for a word.
func text(name string, to *string, most int) field {
	return field{name, false, func(value any) string {
		s, is := value.(string)
		if !is || s == "" || len(s) > most || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' }) {
			return fmt.Sprintf("want 1 to %d characters of ASCII", most)
		}
		*to = s
		return ""
	}}
}

// readBody reads a body that is one flat JSON object of these fields, each at most
// once, and nothing else. All mistakes are found.
func readBody(r *http.Request, fields ...field) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return notJSON.because("want Content-Type: application/json")
	}
	d := json.NewDecoder(r.Body)
	d.UseNumber()
	faults, err := readObject(d, fields)
	if tooBig, is := errors.AsType[*http.MaxBytesError](err); is {
		return tooLarge.because("want at most %d bytes", tooBig.Limit)
	}
	if err != nil {
		return malformed(fault{Detail: "want one JSON object: " + notObject(d, err), Pointer: "#"})
	}
	if len(faults) > 0 {
		return malformed(faults...)
	}
	return nil
}

// notObject says what is wrong with a body, in words of its own where the decoder's are
// about Go.
func notObject(d *json.Decoder, err error) string {
	switch {
	case errors.Is(err, io.EOF) && d.InputOffset() == 0:
		return "the body is empty"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it ends in the middle"
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

func readObject(d *json.Decoder, fields []field) (faults []fault, err error) {
	if t, err := d.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('{') {
		return nil, errors.New("it is none")
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string) // always: the decoder takes nothing else
		var value any
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		mistake := "is there twice"
		if !seen[name] {
			mistake = setField(fields, name, value)
		}
		seen[name] = true
		faults = addFault(faults, name, mistake)
	}
	for _, f := range fields {
		if f.required && !seen[f.name] {
			faults = addFault(faults, f.name, "is required")
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind it")
	}
	return faults, nil
}

// faultsMax bounds the mistakes that are told.
const faultsMax = 16

func addFault(faults []fault, name, mistake string) []fault {
	if mistake == "" || len(faults) == faultsMax {
		return faults
	}
	place := strings.NewReplacer("~", "~0", "/", "~1").Replace(name[:min(len(name), 64)])
	return append(faults, fault{Detail: strings.ToValidUTF8(place, "?") + " " + mistake, Pointer: "#/" + url.PathEscape(place)})
}

func setField(fields []field, name string, value any) (mistake string) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return "is not a field of this request"
	}
	mistake = fields[i].set(value)
	if mistake != "" {
		mistake = "is wrong: " + mistake
	}
	return mistake
}

// pathAccount reads the account that the path names.
func pathAccount(r *http.Request) (ledger.Account, error) {
	s := r.PathValue("account")
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > accountMax || strconv.FormatInt(n, 10) != s {
		return 0, malformed(fault{Detail: fmt.Sprintf("account: want a whole number from 1 to %d", int64(accountMax)), Parameter: "account"})
	}
	return ledger.Account(n), nil
}

// parsePosition reads a transaction that is named as P:ID.
func (a *API) parsePosition(parameter, s string) (o ledger.Origin, err error) {
	left, right, found := strings.Cut(s, ":")
	p, err1 := strconv.ParseUint(left, 10, 31)
	id, err2 := strconv.ParseUint(right, 10, 63)
	if !found || err1 != nil || err2 != nil {
		return o, malformed(fault{Detail: parameter + ": want a transaction as partition:id, such as 0:17", Parameter: parameter})
	}
	if p >= uint64(a.Ledger.Partitions()) {
		return o, malformed(fault{Detail: fmt.Sprintf("%s: there is no partition %d; the log has %d", parameter, p, a.Ledger.Partitions()), Parameter: parameter})
	}
	return ledger.Origin{Partition: waltz.Partition(p), ID: waltz.ID(id)}, nil
}

// query returns the parameters, each at most once and known.
func query(r *http.Request, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed(fault{Detail: "query: " + err.Error(), Parameter: "?"})
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return nil, malformed(fault{Detail: fmt.Sprintf("%q is not a parameter of this route", name), Parameter: name})
		case len(values) > 1:
			return nil, malformed(fault{Detail: name + " is there twice", Parameter: name})
		}
	}
	return q, nil
}

// idempotencyKey reads the key that a transfer must have.
func idempotencyKey(r *http.Request) (string, error) {
	const name = "Idempotency-Key"
	keys := r.Header.Values(name)
	if len(keys) == 1 && keys[0] != "" && len(keys[0]) <= keyMax && !strings.ContainsFunc(keys[0], func(c rune) bool { return c < '!' || c > '~' }) {
		return keys[0], nil
	}
	return "", malformed(fault{Detail: fmt.Sprintf("%s: want one of 1 to %d visible ASCII characters, of your choice and for this transfer of its sender only", name, keyMax), Header: name})
}
