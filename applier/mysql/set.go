package mysql

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// Set is rows to be written by as few statements as possible. It belongs to a
// handler's call. Make one with the For method of [Insert], [Upsert], [Update] or
// [Delete].
type Set struct {
	shape
	tx   *Tx // nil: for the framework itself
	max  int // bytes of a statement
	buf  []byte
	sums []int64 // those of row i begin at i*adds
	all  []row
	err  error // the first
}

// shape is the kind of statement, and what its rows are made of.
type shape struct {
	statement
	table            string
	keys, puts, adds int // how many columns of each; keep comes last
	keeps            int
	ordered          bool // rows have a key: they are sorted and folded
	numberKeys       bool // keys have to be integers
}

// statement is the text around the rows.
type statement struct {
	head, tail string
	before     string // a row's parenthesis
	complete   bool   // a row that is not found is an error
}

// row is one row: its literals in buf, and where its sums are.
type row struct {
	lead          int64 // the first column of the key if it is an integer: the order of most keys
	from, key, to int   // key's literals, then others, each in front of a comma
	keep          int   // from here those of keep, until to
	sums          int
}

// columns tells how many values a row has.
func (s *shape) columns() int { return s.keys + s.puts + s.adds + s.keeps }

// Add adds a row: a value for each column, in the order key, put, add, keep.
// Values are of the integer, floating-point, string, bool and []byte types, named or
// not, time.Time, json.RawMessage, nil, pointers to them, and driver.Valuer. They
// are copied. A mistake is told by Exec.
func (s *Set) Add(values ...any) {
	if s.err != nil {
		return
	}
	if len(values) != s.columns() {
		s.err = fmt.Errorf("a row of %s has %d values, want %d", s.table, len(values), s.columns())
		return
	}
	r := row{from: len(s.buf), sums: len(s.sums)}
	if s.ordered {
		lead, integer := integer(values[0])
		r.lead = lead
		if s.numberKeys && !integer {
			s.err = fmt.Errorf("a row of %s has a %T as its key: only integers can be looked up by a set", s.table, values[0])
		}
	}
	at := 0
	r.key = s.literals(values, &at, s.keys)
	r.keep = s.literals(values, &at, s.puts)
	s.sum(values[at : at+s.adds])
	at += s.adds
	r.to = s.literals(values, &at, s.keeps)
	s.all = append(s.all, r)
}

// literals appends n values and returns where they end.
func (s *Set) literals(values []any, at *int, n int) int {
	for range n {
		var err error
		if s.buf, err = appendLiteral(s.buf, values[*at]); err != nil && s.err == nil {
			s.err = fmt.Errorf("value %d of a row of %s: %w", *at+1, s.table, err)
		}
		s.buf = append(s.buf, ',')
		*at++
	}
	return len(s.buf)
}

func (s *Set) sum(values []any) {
	for _, v := range values {
		n, is := integer(v)
		if !is && s.err == nil {
			s.err = fmt.Errorf("a row of %s adds a %T: want an integer", s.table, v)
		}
		s.sums = append(s.sums, n)
	}
}

// integer returns a value of an integer type, unless it is too large.
func integer(value any) (int64, bool) {
	switch v := value.(type) {
	case int64:
		return v, true
	case int:
		return int64(v), true
	case int32:
		return int64(v), true
	}
	switch v := reflect.ValueOf(value); v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return int64(v.Uint()), v.Uint() <= math.MaxInt64
	}
	return 0, false
}

// Len returns how many rows were added.
func (s *Set) Len() int { return len(s.all) }

// Exec writes the rows, and empties the set. All statements are in the
// handler's SQL transaction, so however many there are, all rows are written or none.
func (s *Set) Exec(ctx context.Context) error {
	if s.err != nil {
		return s.tx.g.Fail(s.err)
	}
	err := s.each(func(query string, rows int) error {
		n, err := s.tx.exec(ctx, query, nil)
		if err == nil && s.complete && n < int64(rows) {
			err = s.tx.g.Fail(&MissingRowsError{s.table, rows, rows - int(n)})
		}
		return err
	})
	s.buf, s.sums, s.all = s.buf[:0], s.sums[:0], s.all[:0]
	return err
}

// MissingRowsError says that an [Update] did not find all of its rows. Nothing of the
// batch is applied.
type MissingRowsError struct {
	Table         string
	Rows, Missing int
}

func (e *MissingRowsError) Error() string {
	return fmt.Sprintf("%d of %d rows to be updated are not in table %s", e.Missing, e.Rows, e.Table)
}

// errRowTooLarge is what can't be split.
var errRowTooLarge = errors.New("a row is larger than the server's max_allowed_packet")

// each makes the statements, none larger than the server takes.
func (s *Set) each(do func(query string, rows int) error) error {
	if s.err != nil {
		return s.err
	}
	s.sort()
	out := append(make([]byte, 0, min(s.max, len(s.head)+len(s.tail)+len(s.buf)+len(s.all)*(4+21*s.adds))), s.head...)
	rows := 0
	flush := func() error {
		query := string(append(out, s.tail...))
		n := rows
		out, rows = append(out[:0], s.head...), 0
		return do(query, n)
	}
	for len(s.all) > 0 {
		size := len(out)
		rest := s.next(&out)
		if len(out)+len(s.tail) > s.max {
			if rows == 0 {
				return errRowTooLarge
			}
			out = out[:size]
			if err := flush(); err != nil {
				return err
			}
			continue
		}
		s.all = rest
		rows++
	}
	if rows == 0 {
		return nil
	}
	return flush()
}

// sort puts the rows into the order of their keys, and those of one key into the order
// they were added in: every partition then locks rows in one order. Any order would do
// that; the one of numbers goes through the index once.
func (s *Set) sort() {
	if !s.ordered {
		return
	}
	compare := func(a, b row) int {
		if c := cmp.Compare(a.lead, b.lead); c != 0 {
			return c
		}
		if c := bytes.Compare(s.keyOf(a), s.keyOf(b)); c != 0 {
			return c
		}
		return cmp.Compare(a.from, b.from)
	}
	if !slices.IsSortedFunc(s.all, compare) {
		slices.SortFunc(s.all, compare)
	}
}

func (s *Set) keyOf(r row) []byte { return s.buf[r.from:r.key] }

// next writes the first row, folded with those behind it that have the same key,
// and returns the rest. What is put comes from the last of them, what is kept from the
// first, and the rest is added up, unless the sum would be too large for us:
// then the database does it.
func (s *Set) next(out *[]byte) []row {
	first, last, n := s.all[0], s.all[0], 1
	var few [8]int64
	sums := append(few[:0], s.sums[first.sums:first.sums+s.adds]...)
	for s.ordered && n < len(s.all) && s.all[n].lead == first.lead && bytes.Equal(s.keyOf(s.all[n]), s.keyOf(first)) {
		if !addAll(sums, s.sums[s.all[n].sums:s.all[n].sums+s.adds]) {
			break
		}
		last = s.all[n]
		n++
	}
	b := *out
	if b[len(b)-1] == ')' {
		b = append(b, ',')
	}
	b = append(append(b, s.before...), '(')
	b = append(b, s.keyOf(first)...)
	b = append(b, s.buf[last.key:last.keep]...)
	for _, sum := range sums {
		b, _ = appendLiteral(b, sum)
		b = append(b, ',')
	}
	b = append(b, s.buf[first.keep:first.to]...)
	b[len(b)-1] = ')'
	*out = b
	return s.all[n:]
}

// addAll adds unless one of the sums would overflow.
func addAll(sums, more []int64) bool {
	for i, m := range more {
		if (m > 0 && sums[i] > math.MaxInt64-m) || (m < 0 && sums[i] < math.MinInt64-m) {
			return false
		}
	}
	for i, m := range more {
		sums[i] += m
	}
	return true
}

// statementMax is how large a statement of a set gets: what the server takes, up
// to 16 MiB.
func (f *facts) statementMax() int { return min(f.packet, 16<<20) - 1<<10 }

// quote writes a name, of a schema and a table too.
func quote(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = "`" + strings.ReplaceAll(p, "`", "``") + "`"
	}
	return strings.Join(parts, ".")
}

// set prepares a set of a handler. A guard that is not open is told by Exec.
func (t *Tx) set(s shape) *Set {
	return &Set{shape: s, tx: t, max: t.statementMax()}
}
