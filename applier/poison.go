package applier

import (
	"context"
	"strings"
	"unicode/utf8"
)

// poison is what becomes of a transaction that can't be applied.
func (t *tenure[Tx, S]) poison(ctx context.Context, b *batch[Tx], p part, err error) error {
	it := &b.items[p.from]
	stop := &TransactionError{
		View: t.a.o.Name, Partition: t.ref.Partition, ID: it.c.ID, Header: it.c.Header, Kind: b.kindOf(it.c.Header),
		Fault: fault(err, t.a.db.Fault).ofHandler(), Err: err,
	}
	if t.a.o.Policy == Stop || stop.Fault.Class != ClassData {
		return stop
	}
	if err := t.breaks(stop); err != nil {
		return err
	}
	pass, err := t.pass(ctx, b, p, stop)
	if err != nil {
		return err
	}
	if _, err := t.commit(ctx, b, p, pass); err != nil {
		return err
	}
	t.told(stop, pass)
	return nil
}

// inARowMax is how many transactions with one code in a row are a configuration
// that is wrong rather than transactions that are.
const inARowMax = 10

// breaks refuses to pass a transaction where it looks as if not the data were wrong.
func (t *tenure[Tx, S]) breaks(stop *TransactionError) error {
	switch {
	case !t.proven && t.row.Meaning != t.a.o.Meaning:
		stop.First = true
	case t.repeat >= inARowMax && t.code == stop.Fault.Code:
		stop.InARow = t.repeat + 1
	default:
		return nil
	}
	stop.Fault.Class = ClassConfiguration
	return stop
}

// pass is how the policy passes a transaction.
func (t *tenure[Tx, S]) pass(ctx context.Context, b *batch[Tx], p part, stop *TransactionError) (*passing, error) {
	if t.a.o.Policy == Skip {
		return &passing{skipped: 1}, nil
	}
	var keys []string
	if t.a.o.Policy == QuarantineKey {
		if b.items[p.from].err != nil { // nobody can say what has to wait behind it
			return nil, stop
		}
		var err error
		if keys, err = b.keysChanged(p.from); err != nil {
			stop.Err = err
			return nil, stop
		}
	}
	if err := t.mayBury(ctx, stop); err != nil {
		return nil, err
	}
	l := t.a.letter(stop.Fault, stop.Err)
	l.Committed, l.State, l.Kind, l.ViewKeys = b.items[p.from].c, LetterDead, cut(stop.Kind, kindMax), encodeKeys(keys)
	return &passing{letters: []Letter{l}, keys: [][]string{keys}}, nil
}

// Bounds of what is stored of an error, in bytes. A letter must never fail because
// of what it tells.
const (
	kindMax = 255
	codeMax = 64
	textMax = 16 << 10
)

// letter is what an error contributes to a letter.
func (a *Applier[Tx, S]) letter(f Fault, err error) Letter {
	return Letter{Class: f.Class.String(), Code: cut(f.Code, codeMax), Text: cut(err.Error(), textMax), Instance: a.o.Instance, Attempts: 1}
}

// cut makes a text fit: as long as it may be, and of characters that every database
// takes.
func cut(text string, most int) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// mayBury refuses a dead letter that would be one too many.
func (t *tenure[Tx, S]) mayBury(ctx context.Context, stop *TransactionError) error {
	var n int
	err := t.insist(ctx, func() (err error) {
		n, err = t.a.db.DeadSince(ctx, t.a.identity, t.a.o.DeadWindow)
		return err
	})
	if err != nil {
		return err
	}
	if n >= t.a.o.DeadMax {
		return &TooManyDeadError{View: t.a.o.Name, Dead: n + 1, Max: t.a.o.DeadMax, Window: t.a.o.DeadWindow, Err: stop}
	}
	return nil
}

// passed notes what a step did not apply.
func (t *tenure[Tx, S]) passed(pass *passing) {
	if pass.items() == 0 {
		return
	}
	t.quarantine.passed(pass)
	for i := range pass.letters {
		t.row.count(&pass.letters[i])
	}
	t.row.Skipped += int64(pass.skipped)
	t.loaded(t.row)
}

// count adds an open letter.
func (r *Row) count(l *Letter) {
	r.Dead++
	if l.State == LetterHeld {
		r.Held++
	}
	if r.FirstDead < 0 || l.ID < r.FirstDead {
		r.FirstDead = l.ID
	}
}

// told tells everyone that a transaction was passed because it can't be applied.
func (t *tenure[Tx, S]) told(e *TransactionError, pass *passing) {
	if t.code != e.Fault.Code {
		t.repeat, t.code = 0, e.Fault.Code
	}
	t.repeat++
	hook, text := t.a.o.Hooks.Dead, "transaction became a dead letter, the view is incomplete"
	if pass.skipped > 0 {
		hook, text = t.a.o.Hooks.Skipped, "transaction was skipped, its effects are lost"
	}
	t.a.logger.Error(text, "transaction", e)
	if hook != nil {
		hook(t.ref.Partition, e.ID, e.Fault)
	}
}
