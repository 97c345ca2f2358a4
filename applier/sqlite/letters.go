package sqlite

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// OpenLetters opens the dead letters in a file, for tools that have no handlers.
// The file and the framework's tables must be there. The caller closes it.
func OpenLetters(_ context.Context, file string) (applier.Letters, error) {
	path, err := Path(file)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d, err := openDatabase(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return d, nil
}

const selectRefs = `
SELECT name, version, partition FROM waltz_high_water_marks
WHERE name = ?1 OR ?1 = '' ORDER BY name, version, partition`

// Rows implements applier.Letters.
func (d *database) Rows(ctx context.Context, name string) (rows []applier.Row, err error) {
	err = d.read(ctx, func(s *session) error {
		refs, err := readRefs(ctx, s, name)
		if err != nil {
			return err
		}
		for _, r := range refs {
			row, err := readRow(s, r.Identity, r.Partition)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

func readRefs(ctx context.Context, s *session, name string) ([]applier.Ref, error) {
	rows, err := s.rows(ctx, selectRefs, nil, []any{name})
	if err != nil {
		return nil, err
	}
	var refs []applier.Ref
	for rows.Next() {
		var r applier.Ref
		if err := rows.Scan(&r.Name, &r.Version, &r.Partition); err != nil {
			return nil, err
		}
		refs = append(refs, r)
	}
	return refs, rows.Err()
}

const selectLetters = `
SELECT transaction_id, state, header, kind, business_key, view_keys, iif(?1, data, x''), length(data), committed_at,
	error_class, error_code, error, instance, failed_at, attempts, reason, changed_by
FROM waltz_dead_letters
WHERE name = ?2 AND version = ?3 AND partition = ?4 AND transaction_id > ?5 AND (?6 OR state <> 'discarded')
ORDER BY transaction_id LIMIT ?7`

// List implements applier.Letters.
func (d *database) List(ctx context.Context, r applier.Ref, q applier.LetterQuery) (letters []applier.Letter, err error) {
	err = d.read(ctx, func(s *session) error {
		rows, err := s.rows(ctx, selectLetters, nil, []any{q.Data, r.Name, r.Version, int(r.Partition), int64(q.After), q.Discarded, q.Limit})
		if err != nil {
			return err
		}
		for rows.Next() {
			l, err := scanLetter(rows)
			if err != nil {
				return err
			}
			l.Partition = r.Partition
			letters = append(letters, l)
		}
		return rows.Err()
	})
	return letters, err
}

func scanLetter(rows *Rows) (l applier.Letter, err error) {
	var state string
	var committed, failed int64
	err = rows.Scan(&l.ID, &state, &l.Header, &l.Kind, &l.Key, &l.ViewKeys, &l.Data, &l.DataLen, &committed,
		&l.Class, &l.Code, &l.Text, &l.Instance, &failed, &l.Attempts, &l.Reason, &l.ChangedBy)
	l.State = applier.LetterState(state)
	l.Time, l.FailedAt = time.UnixMicro(committed).UTC(), time.UnixMilli(failed).UTC()
	return l, err
}

const (
	sameEpoch = `UPDATE waltz_high_water_marks SET updated_at = ` + now + ` WHERE number = ? AND epoch = ?`

	epochUp = `UPDATE waltz_high_water_marks SET epoch = epoch + 1, updated_at = ` + now + ` WHERE number = ?`

	askLetters = `
UPDATE waltz_dead_letters SET state = 'retry', changed_by = ?
WHERE name = ? AND version = ? AND partition = ? AND transaction_id BETWEEN ? AND ? AND state IN ('dead', 'retry')`

	discardLetter = `
UPDATE waltz_dead_letters SET state = 'discarded', reason = ?, changed_by = ?
WHERE name = ? AND version = ? AND partition = ? AND transaction_id = ? AND state <> 'discarded'`

	failLetter = `
UPDATE waltz_dead_letters SET state = 'dead', error_class = ?, error_code = ?, error = ?, instance = ?, failed_at = ` + now + `, attempts = attempts + 1
WHERE name = ? AND version = ? AND partition = ? AND transaction_id = ? AND state IN ('held', 'retry')`
)

// Ask implements applier.Letters.
func (d *database) Ask(ctx context.Context, r applier.Ref, first, last waltz.ID, by string) (int, error) {
	return d.changeLetters(ctx, r, askLetters, by, r.Name, r.Version, int(r.Partition), int64(first), int64(last))
}

// Discard implements applier.Letters.
func (d *database) Discard(ctx context.Context, r applier.Ref, id waltz.ID, reason, by string) (bool, error) {
	n, err := d.changeLetters(ctx, r, discardLetter, reason, by, r.Name, r.Version, int(r.Partition), int64(id))
	return n > 0, err
}

// changeLetters raises the epoch if it changes any. SQLite has one writer, so the
// order of the two statements does not matter here.
func (d *database) changeLetters(ctx context.Context, r applier.Ref, query string, args ...any) (changed int, err error) {
	err = d.w.alone(ctx, func(s *session) error {
		n, err := s.exec(query, nil, args)
		if err != nil || n == 0 {
			return err
		}
		changed = int(n)
		_, err = s.exec(epochUp, nil, []any{r.Number})
		return err
	})
	return changed, err
}

// Failed implements applier.Database.
func (d *database) Failed(ctx context.Context, r applier.Ref, epoch int64, l applier.Letter) error {
	return d.w.alone(ctx, func(s *session) error {
		if err := expectOne(s, sameEpoch, r.Number, epoch); err != nil {
			return err
		}
		_, err := s.exec(failLetter, nil, []any{l.Class, l.Code, l.Text, l.Instance, r.Name, r.Version, int(r.Partition), int64(l.ID)})
		return err
	})
}
