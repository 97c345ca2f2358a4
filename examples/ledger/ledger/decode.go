package ledger

import (
	"bytes"

	"github.com/waltz-log/waltz/waltz"
)

// objectReader reads JSON as objectWriter writes it. At anything else it turns
// unusual, and what it has read is worth nothing.
type objectReader struct {
	rest    []byte
	unusual bool
}

// take skips one character if it is next.
func (r *objectReader) take(c byte) bool {
	if len(r.rest) == 0 || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

// want is take of what must be next.
func (r *objectReader) want(c byte) {
	if !r.take(c) {
		r.unusual = true
	}
}

// raw reads a text, which aliases the data.
func (r *objectReader) raw() []byte {
	r.want('"')
	end := bytes.IndexByte(r.rest, '"')
	if end < 0 || r.unusual || !plain(r.rest[:end]) {
		r.unusual = true
		return nil
	}
	s := r.rest[:end]
	r.rest = r.rest[end+1:]
	return s
}

// text reads a text, without making anew the words that almost all entries have.
func (r *objectReader) text() string {
	switch s := r.raw(); string(s) {
	case string(KindTransfer):
		return string(KindTransfer)
	case string(KindOut):
		return string(KindOut)
	case string(KindIn):
		return string(KindIn)
	case string(Debit):
		return string(Debit)
	case string(Credit):
		return string(Credit)
	case Currency:
		return Currency
	case "PRIJEM":
		return "PRIJEM"
	case "VYDAJ":
		return "VYDAJ"
	case "VYBER":
		return "VYBER"
	default:
		return string(s)
	}
}

// number reads a whole number of at most 18 digits.
func (r *objectReader) number() (n int64) {
	negative := r.take('-')
	digits := 0
	for digits < len(r.rest) && r.rest[digits] >= '0' && r.rest[digits] <= '9' {
		n = 10*n + int64(r.rest[digits]-'0')
		digits++
	}
	if digits == 0 || digits > 18 || digits > 1 && r.rest[0] == '0' {
		r.unusual = true
	}
	r.rest = r.rest[digits:]
	if negative {
		return -n
	}
	return n
}

func (r *objectReader) yes() bool {
	var is bool
	if r.rest, is = bytes.CutPrefix(r.rest, []byte("true")); !is {
		r.unusual = true
	}
	return true
}

// object calls field for each name in an object, to read its value.
func (r *objectReader) object(field func(name []byte)) {
	r.want('{')
	if r.take('}') {
		return
	}
	for !r.unusual {
		name := r.raw()
		r.want(':')
		field(name)
		if r.take('}') {
			return
		}
		r.want(',')
	}
}

func (r *objectReader) entry(e *Entry) {
	r.object(func(name []byte) {
		switch string(name) {
		case "kind":
			e.Kind = Kind(r.text())
		case "type":
			e.Type = r.text()
		case "booked_on":
			e.BookedOn = Date(r.text())
		case "amount_minor":
			e.AmountMinor = r.number()
		case "from":
			e.From = Account(r.number())
		case "to":
			e.To = Account(r.number())
		case "allow_overdraft":
			e.AllowOverdraft = r.yes()
		case "postings":
			r.unusual = r.unusual || e.Postings != nil // twice
			e.Postings = r.postings()
		case "account":
			e.Account = Account(r.number())
		case "currency":
			e.Currency = r.text()
		case "origin":
			r.unusual = r.unusual || e.Origin != nil
			e.Origin = r.origin()
		case "reason":
			e.Reason = r.text()
		default:
			r.unusual = true
		}
	})
}

func (r *objectReader) postings() []Posting {
	all := make([]Posting, 0, 2)
	r.want('[')
	if r.take(']') {
		return all
	}
	for !r.unusual {
		all = append(all, r.posting())
		if r.take(']') {
			return all
		}
		r.want(',')
	}
	return all
}

func (r *objectReader) posting() (p Posting) {
	r.object(func(name []byte) {
		switch string(name) {
		case "account":
			p.Account = Account(r.number())
		case "currency":
			p.Currency = r.text()
		case "side":
			p.Side = Side(r.text())
		case "amount_minor":
			p.AmountMinor = r.number()
		default:
			r.unusual = true
		}
	})
	return p
}

func (r *objectReader) origin() *Origin {
	var o Origin
	r.object(func(name []byte) {
		switch string(name) {
		case "partition":
			n := r.number()
			o.Partition = waltz.Partition(n)
			r.unusual = r.unusual || int64(o.Partition) != n
		case "id":
			o.ID = waltz.ID(r.number())
		default:
			r.unusual = true
		}
	})
	return &o
}
