package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// OpenLetters opens the dead letters in a database, for tools that have no
// handlers. The framework's tables must be there. The caller closes it.
func OpenLetters(ctx context.Context, url string) (applier.Letters, error) {
	d, err := openDatabase(ctx, url, "dead letters")
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Rows implements applier.Letters.
func (d *database) Rows(ctx context.Context, name string) ([]applier.Row, error) {
	return all(ctx, d.readers.pool, scanRow, selectRow+`m.name = $1 OR $1 = '' ORDER BY m.name, m.version, m.partition`, name)
}

const (
	selectLetters = `
SELECT transaction_id, state, header, kind, business_key, view_keys, CASE WHEN $1 THEN data ELSE ''::bytea END, length(data), committed_at,
	error_class, error_code, error, instance, failed_at, attempts, reason, changed_by
FROM waltz_dead_letters
WHERE name = $2 AND version = $3 AND partition = $4 AND transaction_id > $5 AND ($6 OR state <> 'discarded')
ORDER BY transaction_id LIMIT $7`

	epochUp = `UPDATE waltz_high_water_marks SET epoch = epoch + 1, updated_at = ` + now + ` WHERE number = $1`

	lockRow = `SELECT number FROM waltz_high_water_marks WHERE number = $1 FOR UPDATE`

	sameEpoch = `SELECT number FROM waltz_high_water_marks WHERE number = $1 AND epoch = $2 FOR UPDATE`

	askLetters = `
UPDATE waltz_dead_letters SET state = 'retry', changed_by = $1
WHERE name = $2 AND version = $3 AND partition = $4 AND transaction_id BETWEEN $5 AND $6 AND state IN ('dead', 'retry')`

	discardLetter = `
UPDATE waltz_dead_letters SET state = 'discarded', reason = $1, changed_by = $2
WHERE name = $3 AND version = $4 AND partition = $5 AND transaction_id = $6 AND state <> 'discarded'`

	failLetter = `
UPDATE waltz_dead_letters SET state = 'dead', error_class = $1, error_code = $2, error = $3, instance = $4, failed_at = ` + now + `, attempts = attempts + 1
WHERE name = $5 AND version = $6 AND partition = $7 AND transaction_id = $8 AND state IN ('held', 'retry')`
)

// List implements applier.Letters.
func (d *database) List(ctx context.Context, r applier.Ref, q applier.LetterQuery) ([]applier.Letter, error) {
	scan := func(row pgx.CollectableRow) (applier.Letter, error) { return scanLetter(row, r.Partition) }
	return all(ctx, d.readers.pool, scan, selectLetters, q.Data, r.Name, r.Version, int(r.Partition), int64(q.After), q.Discarded, q.Limit)
}

func scanLetter(row pgx.CollectableRow, p waltz.Partition) (l applier.Letter, err error) {
	var key []byte
	err = row.Scan(&l.ID, &l.State, &l.Header, &l.Kind, &key, &l.ViewKeys, &l.Data, &l.DataLen, &l.Time,
		&l.Class, &l.Code, &l.Text, &l.Instance, &l.FailedAt, &l.Attempts, &l.Reason, &l.ChangedBy)
	l.Partition, l.Key = p, string(key)
	l.Time, l.FailedAt = l.Time.UTC(), l.FailedAt.UTC()
	return l, err
}

// Ask implements applier.Letters.
func (d *database) Ask(ctx context.Context, r applier.Ref, first, last waltz.ID, by string) (int, error) {
	return d.changeLetters(ctx, r, askLetters, text(by), r.Name, r.Version, int(r.Partition), int64(first), int64(last))
}

// Discard implements applier.Letters.
func (d *database) Discard(ctx context.Context, r applier.Ref, id waltz.ID, reason, by string) (bool, error) {
	n, err := d.changeLetters(ctx, r, discardLetter, text(reason), text(by), r.Name, r.Version, int(r.Partition), int64(id))
	return n > 0, err
}

// changeLetters raises the epoch if it changes any. The row of the mark is locked
// first, as in every step.
func (d *database) changeLetters(ctx context.Context, r applier.Ref, query string, args ...any) (changed int, err error) {
	err = d.inTransaction(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockRow, r.Number); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, query, args...)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		changed = int(tag.RowsAffected())
		_, err = tx.Exec(ctx, epochUp, r.Number)
		return err
	})
	if err != nil {
		return 0, err
	}
	return changed, nil
}

// Failed implements applier.Database.
func (d *database) Failed(ctx context.Context, r applier.Ref, epoch int64, l applier.Letter) error {
	return d.inTransaction(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sameEpoch, r.Number, epoch)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return applier.ErrLost
		}
		_, err = tx.Exec(ctx, failLetter, l.Class, l.Code, text(l.Text), l.Instance, r.Name, r.Version, int(r.Partition), int64(l.ID))
		return err
	})
}
