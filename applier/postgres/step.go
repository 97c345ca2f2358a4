package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/mutant"
)

// compareAndSet is the first statement of every step. With another mark or epoch it
// divides by zero, so that nothing that was sent behind it is run; a row that
// another instance has locked is waited for, and looked at again. A row that is not
// there is no error, but it is counted.
const compareAndSet = `
UPDATE waltz_high_water_marks SET
	high_water_mark = CASE WHEN high_water_mark = $1 AND epoch = $2 THEN $3::bigint ELSE 1 / (number - number) END,
	owner = $4, lease_until = CASE WHEN $5::bigint > 0 THEN ` + now + ` + $5::bigint * interval '1 millisecond' ELSE 'epoch' END,
	applied = applied + $6, dead = dead + $7, skipped = skipped + $8, meaning_hash = $9,
	state = 'applying', last_error_code = '', updated_at = ` + now + `
WHERE number = $10`

// compareOnly is what compareAndSet would be if it did not fail by itself.
const compareOnly = `
UPDATE waltz_high_water_marks SET high_water_mark = $3, owner = $4,
	lease_until = CASE WHEN $5::bigint > 0 THEN ` + now + ` + $5::bigint * interval '1 millisecond' ELSE 'epoch' END,
	applied = applied + $6, dead = dead + $7, skipped = skipped + $8, meaning_hash = $9, state = 'applying', last_error_code = '', updated_at = ` + now + `
WHERE number = $10 AND high_water_mark = $1 AND epoch = $2`

// raiseEpoch is the first statement where letters change and the mark does not:
// whoever has an old idea of the letters is fenced.
const raiseEpoch = `
UPDATE waltz_high_water_marks SET
	epoch = CASE WHEN epoch = $1 THEN epoch + 1 ELSE 1 / (number - number) END, updated_at = ` + now + `
WHERE number = $2`

// now is this database's clock, also for a statement that has waited.
const now = `clock_timestamp()`

// readCommitted is enough: whoever holds the row of the mark is alone.
const readCommitted = "ISOLATION LEVEL READ COMMITTED"

// Apply implements applier.Database.
func (d *database) Apply(ctx context.Context, step *applier.Step[*Tx]) error {
	c, err := d.writers.Acquire(ctx)
	if err != nil {
		return connecting(err)
	}
	defer c.Release()
	err = d.try(ctx, c.Conn(), step)
	if errors.Is(err, errKeyTaken) {
		d.careful.Store(carefulSteps)
		err = d.try(ctx, c.Conn(), step)
	}
	if err == nil {
		reached(step, applier.StageCommitted)
	}
	return err
}

func (d *database) try(ctx context.Context, conn *pgx.Conn, step *applier.Step[*Tx]) error {
	s := d.session(conn)
	err := perform(ctx, s, step)
	if err == nil {
		err = s.commit(ctx)
	}
	if err != nil {
		s.rollback(ctx)
		d.afterError(ctx, s, err)
	}
	return err
}

// afterError gives up a connection whose error may be its own.
func (d *database) afterError(ctx context.Context, s *session, err error) {
	if !tainted(err) {
		return
	}
	d.descriptions.reset()
	_ = s.conn.Close(ctx) // the pool opens another one
}

// perform does everything of a step between BEGIN and COMMIT (I7).
func perform(ctx context.Context, s *session, step *applier.Step[*Tx]) error {
	if err := begin(ctx, s, step); err != nil {
		return err
	}
	h := &handle{s: s, reached: step.Reached}
	err := h.end(step.Work(ctx, &Tx{h}))
	if err == nil {
		err = keep(ctx, s, step)
	}
	_ = s.sync() // its error is kept
	// What the answers say counts: an error of the handler may only be a consequence
	// in its own words, and the loser of a race must not blame a transaction.
	if s.failed != nil && !errors.Is(err, s.failed) {
		err = errors.Join(s.failed, err)
	}
	if err != nil {
		return err
	}
	reached(step, applier.StageWorked)
	return nil
}

func reached(step *applier.Step[*Tx], at applier.Stage) {
	if step.Reached != nil {
		step.Reached(at)
	}
}

// begin sends BEGIN and the compare-and-set, and with a step of letters the end of
// those.
func begin(ctx context.Context, s *session, step *applier.Step[*Tx]) error {
	if !mutant.On("postgres-no-begin") {
		if err := s.begin(ctx, readCommitted); err != nil {
			return err
		}
	}
	if err := mark(ctx, s, step); err != nil {
		return err
	}
	if mutant.On("postgres-hwm-outside-transaction") {
		_ = s.words(ctx, "COMMIT")
		_ = s.begin(ctx, readCommitted)
	}
	if step.Reached == nil && step.Retried == nil {
		return nil
	}
	if err := s.sync(); err != nil {
		return err
	}
	reached(step, applier.StageMarked)
	return nil
}

func mark(ctx context.Context, s *session, step *applier.Step[*Tx]) error {
	one := sent{wantMark, 1}
	if step.Retried == nil {
		query := compareAndSet
		if mutant.On("postgres-no-begin") || mutant.On("postgres-cas-result-ignored") {
			query = compareOnly
		}
		return s.send(ctx, one, query, []any{
			int64(step.Old), step.Epoch, int64(step.New), step.Owner, step.Lease.Milliseconds(),
			step.Transactions, step.Dead(), step.Skipped, step.Meaning, step.Number,
		})
	}
	if err := s.send(ctx, one, raiseEpoch, []any{step.Epoch, step.Number}); err != nil {
		return err
	}
	return s.send(ctx, sent{wantRows, int64(len(step.Retried))}, deleteLetters,
		[]any{step.Name, step.Version, int(step.Partition), step.Retried})
}

const (
	// insertKeys stores keys that are new, as nearly all are. Looking for each of them
	// first costs twice as much as inserting it does.
	insertKeys = `
INSERT INTO waltz_keys (number, business_key, transaction_id)
SELECT $1, k.business_key, k.id FROM unnest($2::bytea[], $3::bigint[]) AS k (business_key, id)`

	// insertNewKeys leaves out those that are there.
	insertNewKeys = insertKeys + ` ON CONFLICT DO NOTHING`

	insertLetter = `
INSERT INTO waltz_dead_letters (name, version, partition, transaction_id, state, header, kind, business_key, view_keys, data, committed_at,
	error_class, error_code, error, instance, failed_at, attempts, reason, changed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, ` + now + `, $16, '', '')`

	// deleteLetters removes letters that are about to be applied. One that is not
	// there, or not to be tried, was decided on by somebody else.
	deleteLetters = `
DELETE FROM waltz_dead_letters
WHERE name = $1 AND version = $2 AND partition = $3 AND transaction_id = ANY ($4::bigint[]) AND state IN ('held', 'retry')`
)

// errKeyTaken means that a key was carried by an earlier transaction, too. The step is
// done again, with keys looked for, and so are some after it: where there is one,
// as in a view whose mark was set back, there may be many.
var errKeyTaken = errors.New("a business key is there already")

const carefulSteps = 100

// keep sends the keys and the letters of a step.
func keep(ctx context.Context, s *session, step *applier.Step[*Tx]) error {
	if len(step.Keys) > 0 {
		keys, ids := make([][]byte, len(step.Keys)), make([]int64, len(step.Keys))
		for i, k := range step.Keys {
			keys[i], ids[i] = []byte(k.Key), int64(k.ID)
		}
		w, query := sent{what: wantKeys}, insertKeys
		if s.d.careful.Add(-1) >= 0 {
			w, query = sent{}, insertNewKeys
		}
		if err := s.send(ctx, w, query, []any{step.Number, keys, ids}); err != nil {
			return err
		}
	}
	var errs error
	for i := range step.Letters {
		l := &step.Letters[i]
		data := l.Data
		if data == nil {
			data = []byte{}
		}
		errs = errors.Join(errs, s.send(ctx, sent{}, insertLetter, []any{
			step.Name, step.Version, int(step.Partition), int64(l.ID), string(l.State), int(l.Header), text(l.Kind), []byte(l.Key), text(l.ViewKeys), data, l.Time,
			l.Class, l.Code, text(l.Text), l.Instance, l.Attempts,
		}))
	}
	return errs
}

// text makes a string fit for a column: PostgreSQL takes neither the character 0 nor
// what is not UTF-8, and a letter must not fail because of its words.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
