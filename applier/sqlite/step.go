package sqlite

import (
	"context"
	"strings"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/mutant"
)

// compareAndSet is the first statement of every step: whoever finds another mark
// or epoch than its own touches nothing else.
const compareAndSet = `
UPDATE waltz_high_water_marks SET
	high_water_mark = ?1, owner = ?2, lease_until = iif(?3 > 0, ` + now + ` + ?3, 0),
	applied = applied + ?4, dead = dead + ?5, skipped = skipped + ?6, meaning_hash = ?7,
	state = 'applying', last_error_code = '', updated_at = ` + now + `
WHERE number = ?8 AND high_water_mark = ?9 AND epoch = ?10`

// raiseEpoch is the first statement where letters change and the mark does not:
// whoever has an old idea of the letters is fenced.
const raiseEpoch = `UPDATE waltz_high_water_marks SET epoch = epoch + 1, updated_at = ` + now + ` WHERE number = ? AND epoch = ?`

// perform does everything of a step between BEGIN and COMMIT (I7).
func perform(ctx context.Context, s *session, step *applier.Step[Tx]) error {
	if err := begin(s, step); err != nil {
		return err
	}
	if mutant.On("hwm-outside-transaction") {
		_, _ = s.exec("COMMIT; BEGIN IMMEDIATE", nil, nil)
	}
	reached(step, applier.StageMarked)
	h := &handle{s: s, reached: step.Reached}
	if err := h.end(step.Work(ctx, Tx{h})); err != nil {
		return err
	}
	if err := storeKeys(s, step); err != nil {
		return err
	}
	if err := bury(s, step); err != nil {
		return err
	}
	reached(step, applier.StageWorked)
	return nil
}

func reached(step *applier.Step[Tx], at applier.Stage) {
	if step.Reached != nil {
		step.Reached(at)
	}
}

// begin does the compare-and-set of a step, and removes the letters that it is about.
func begin(s *session, step *applier.Step[Tx]) error {
	if step.Retried != nil {
		if err := expectOne(s, raiseEpoch, step.Number, step.Epoch); err != nil {
			return err
		}
		return unbury(s, step)
	}
	return expectOne(s, compareAndSet,
		int64(step.New), step.Owner, step.Lease.Milliseconds(), step.Transactions, step.Dead(), step.Skipped, step.Meaning,
		step.Number, int64(step.Old), step.Epoch)
}

// expectOne runs a statement that changes one row, unless somebody was faster.
func expectOne(s *session, query string, args ...any) error {
	n, err := s.exec(query, nil, args)
	if err != nil {
		return err
	}
	if n == 0 && !mutant.On("cas-result-ignored") {
		return applier.ErrLost
	}
	return nil
}

// keyRows is how many keys one statement stores.
const keyRows = 50

// insertKeys stores n keys. The first transaction of a key stays.
func insertKeys(n int) string {
	return "INSERT INTO waltz_keys (number, business_key, transaction_id) VALUES (?1, ?, ?)" +
		strings.Repeat(", (?1, ?, ?)", n-1) + " ON CONFLICT DO NOTHING"
}

var (
	insertMany = insertKeys(keyRows)
	insertOne  = insertKeys(1)
)

func storeKeys(s *session, step *applier.Step[Tx]) error {
	keys := step.Keys
	args := make([]any, 0, 1+2*keyRows)
	for len(keys) > 0 {
		n, query := 1, insertOne
		if len(keys) >= keyRows {
			n, query = keyRows, insertMany
		}
		args = append(args[:0], step.Number)
		for _, k := range keys[:n] {
			args = append(args, k.Key, int64(k.ID))
		}
		if _, err := s.exec(query, nil, args); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

const (
	insertLetter = `
INSERT INTO waltz_dead_letters (name, version, partition, transaction_id, state, header, kind, business_key, view_keys, data, committed_at,
	error_class, error_code, error, instance, failed_at, attempts, reason, changed_by)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ` + now + `, ?, '', '')`
	deleteLetter = `
DELETE FROM waltz_dead_letters
WHERE name = ? AND version = ? AND partition = ? AND transaction_id = ? AND state IN ('held', 'retry')`
)

func bury(s *session, step *applier.Step[Tx]) error {
	for i := range step.Letters {
		l := &step.Letters[i]
		data := l.Data
		if data == nil {
			data = []byte{}
		}
		_, err := s.exec(insertLetter, nil, []any{
			step.Name, step.Version, int(step.Partition), int64(l.ID), string(l.State), int(l.Header), l.Kind, l.Key, l.ViewKeys, data, l.Time.UnixMicro(),
			l.Class, l.Code, l.Text, l.Instance, l.Attempts,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unbury deletes letters that are about to be applied. One that is not there, or
// not to be tried, was decided on by somebody else.
func unbury(s *session, step *applier.Step[Tx]) error {
	if mutant.On("letter-stays-after-retry") {
		return nil
	}
	for _, id := range step.Retried {
		if err := expectOne(s, deleteLetter, step.Name, step.Version, int(step.Partition), int64(id)); err != nil {
			return err
		}
	}
	return nil
}
