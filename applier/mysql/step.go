package mysql

import (
	"context"
	"strings"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/mutant"
)

// compareAndSet is the first statement of every step: whoever finds another mark
// or epoch than its own touches nothing else.
const compareAndSet = "UPDATE waltz_high_water_marks SET\n" +
	"	high_water_mark = ?, owner = ?, lease_until = IF(? > 0, " + now + " + INTERVAL ? MICROSECOND, " + never + "),\n" +
	"	applied = applied + ?, dead = dead + ?, skipped = skipped + ?, meaning_hash = ?,\n" +
	"	state = 'applying', last_error_code = '', updated_at = " + now + "\n" +
	"WHERE number = ? AND high_water_mark = ? AND epoch = ?"

// raiseEpoch is the first statement where letters change and the mark does not:
// whoever has an old idea of the letters is fenced.
const raiseEpoch = "UPDATE waltz_high_water_marks SET epoch = epoch + 1, updated_at = " + now + " WHERE number = ? AND epoch = ?"

// Apply implements applier.Database.
func (d *database) Apply(ctx context.Context, step *applier.Step[*Tx]) error {
	c, err := connect(ctx, d.writes)
	if err != nil {
		return err
	}
	defer c.release(ctx)
	if err := c.begin(ctx, "START TRANSACTION"); err != nil {
		return err
	}
	if err := d.perform(ctx, c, step); err != nil {
		return c.afterError(ctx, err)
	}
	if err := c.commit(ctx); err != nil {
		return err
	}
	reached(step, applier.StageCommitted)
	return nil
}

// perform does everything of a step between START TRANSACTION and COMMIT (I7).
func (d *database) perform(ctx context.Context, c *conn, step *applier.Step[*Tx]) error {
	if err := begin(ctx, c, step); err != nil {
		return err
	}
	if mutant.On("mysql-mark-committed-first") {
		_, _ = c.exec(ctx, "COMMIT AND CHAIN")
	}
	if err := c.mark(ctx); err != nil {
		return err
	}
	reached(step, applier.StageMarked)
	tx := &Tx{handle{c: c, facts: d.facts, reached: step.Reached}}
	if err := tx.end(step.Work(ctx, tx)); err != nil {
		return err
	}
	if err := d.storeKeys(ctx, c, step); err != nil {
		return err
	}
	if err := bury(ctx, c, step); err != nil {
		return err
	}
	reached(step, applier.StageWorked)
	if mutant.On("mysql-savepoint-not-checked") {
		return nil
	}
	return c.stillOpen(ctx)
}

func reached(step *applier.Step[*Tx], at applier.Stage) {
	if step.Reached != nil {
		step.Reached(at)
	}
}

// begin does the compare-and-set of a step, and removes the letters that it is about.
func begin(ctx context.Context, c *conn, step *applier.Step[*Tx]) error {
	if step.Retried != nil {
		if err := expectOne(ctx, c, raiseEpoch, step.Number, step.Epoch); err != nil {
			return err
		}
		return unbury(ctx, c, step)
	}
	lease := step.Lease.Microseconds()
	return expectOne(ctx, c, compareAndSet,
		int64(step.New), step.Owner, lease, lease, step.Transactions, step.Dead(), step.Skipped, step.Meaning,
		step.Number, int64(step.Old), step.Epoch)
}

// expectOne runs a statement that finds one row, unless somebody was faster.
func expectOne(ctx context.Context, c *conn, query string, args ...any) error {
	n, err := c.exec(ctx, query, args...)
	if err != nil {
		return err
	}
	if n == 0 && !mutant.On("mysql-cas-result-ignored") {
		return applier.ErrLost
	}
	return nil
}

// keyRows writes keys. The first transaction of a key stays.
var keyRows = Upsert{Table: "waltz_keys", Key: []string{"number", "business_key"}, Keep: []string{"transaction_id"}}

func (d *database) storeKeys(ctx context.Context, c *conn, step *applier.Step[*Tx]) error {
	if len(step.Keys) == 0 || step.Retried != nil {
		return nil
	}
	rows := keyRows.rows(d.server, d.statementMax())
	for _, k := range step.Keys {
		rows.Add(step.Number, []byte(k.Key), int64(k.ID))
	}
	return rows.each(func(query string, _ int) error {
		_, err := c.exec(ctx, query)
		return err
	})
}

const (
	insertLetter = "INSERT INTO waltz_dead_letters (name, version, `partition`, transaction_id, state, header, kind, business_key, view_keys, data, committed_at,\n" +
		"	error_class, error_code, error, instance, failed_at, attempts, reason, changed_by)\n" +
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, " + now + ", ?, '', '')"
	deleteLetter = "DELETE FROM waltz_dead_letters\n" +
		"WHERE name = ? AND version = ? AND `partition` = ? AND transaction_id = ? AND state IN ('held', 'retry')"
)

func bury(ctx context.Context, c *conn, step *applier.Step[*Tx]) error {
	for i := range step.Letters {
		l := &step.Letters[i]
		data := l.Data
		if data == nil {
			data = []byte{}
		}
		_, err := c.exec(ctx, insertLetter,
			step.Name, step.Version, int(step.Partition), int64(l.ID), string(l.State), int(l.Header), fit(l.Kind, 255), []byte(l.Key), fit(l.ViewKeys, 1<<24-1), data, l.Time.UTC().Truncate(time.Microsecond),
			l.Class, fit(l.Code, 64), fit(l.Text, textMax), fit(l.Instance, 100), l.Attempts)
		if err != nil {
			return err
		}
	}
	return nil
}

// textMax is what a column of type text holds, in bytes.
const textMax = 1<<16 - 1

// fit cuts what an operator reads to the size of its column: a letter must not be
// lost because its error has many words.
func fit(s string, bytes int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= bytes {
		return s
	}
	return strings.ToValidUTF8(s[:bytes], "")
}

// unbury deletes letters that are about to be applied. One that is not there, or
// not to be tried, was decided on by somebody else.
func unbury(ctx context.Context, c *conn, step *applier.Step[*Tx]) error {
	for _, id := range step.Retried {
		if err := expectOne(ctx, c, deleteLetter, step.Name, step.Version, int(step.Partition), int64(id)); err != nil {
			return err
		}
	}
	return nil
}
