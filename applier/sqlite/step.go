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
	applied = applied + ?4, dead = dead + ?5, state = 'applying', last_error_code = '', updated_at = ` + now + `
WHERE number = ?6 AND high_water_mark = ?7 AND epoch = ?8`

// perform does everything of a step between BEGIN and COMMIT (I7).
func perform(ctx context.Context, s *session, step *applier.Step[Tx]) error {
	if err := mark(s, step); err != nil {
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

func mark(s *session, step *applier.Step[Tx]) error {
	dead := 0
	if step.Dead != nil {
		dead = 1
	}
	n, err := s.exec(compareAndSet, nil, []any{
		int64(step.New), step.Owner, step.Lease.Milliseconds(), step.Transactions, dead,
		step.Number, int64(step.Old), step.Epoch,
	})
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

const insertDead = `
INSERT INTO waltz_dead_letters (name, version, partition, transaction_id, header, kind, business_key, data, committed_at, error_class, error_code, error, instance, failed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ` + now + `)`

func bury(s *session, step *applier.Step[Tx]) error {
	d := step.Dead
	if d == nil {
		return nil
	}
	data := d.Data
	if data == nil {
		data = []byte{}
	}
	_, err := s.exec(insertDead, nil, []any{
		step.Name, step.Version, int(step.Partition), int64(d.ID), int(d.Header), d.Kind, d.Key, data, d.Time.UnixMicro(),
		d.Fault.Class.String(), d.Fault.Code, d.Text, d.Instance,
	})
	return err
}
