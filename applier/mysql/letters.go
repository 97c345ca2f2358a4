package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// OpenLetters opens the dead letters in a database, for tools that have no
// handlers. The framework's tables must be there. The caller closes it.
func OpenLetters(ctx context.Context, addr string) (applier.Letters, error) {
	a, err := parse(addr)
	if err != nil {
		return nil, err
	}
	d, err := a.database(ctx, applier.Options{})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a.text, err)
	}
	return d, nil
}

const selectRefs = "SELECT name, version, `partition` FROM waltz_high_water_marks\n" +
	"WHERE name = ? OR ? = '' ORDER BY name, version, `partition`"

// Rows implements applier.Letters.
func (d *database) Rows(ctx context.Context, name string) (rows []applier.Row, err error) {
	refs, err := d.readRefs(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, r := range refs {
		row, err := readRow(ctx, d.reads, r.Identity, r.Partition)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (d *database) readRefs(ctx context.Context, name string) ([]applier.Ref, error) {
	rows, err := d.reads.QueryContext(ctx, selectRefs, name, name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
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

const selectLetters = "SELECT transaction_id, state, header, kind, business_key, view_keys, IF(?, data, ''), length(data), committed_at,\n" +
	"	error_class, error_code, error, instance, failed_at, attempts, reason, changed_by\n" +
	"FROM waltz_dead_letters\n" +
	"WHERE name = ? AND version = ? AND `partition` = ? AND transaction_id > ? AND (? OR state <> 'discarded')\n" +
	"ORDER BY transaction_id LIMIT ?"

// List implements applier.Letters.
func (d *database) List(ctx context.Context, r applier.Ref, q applier.LetterQuery) (letters []applier.Letter, err error) {
	rows, err := d.reads.QueryContext(ctx, selectLetters, q.Data, r.Name, r.Version, int(r.Partition), int64(q.After), q.Discarded, q.Limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		l, err := scanLetter(rows)
		if err != nil {
			return nil, err
		}
		l.Partition = r.Partition
		letters = append(letters, l)
	}
	return letters, rows.Err()
}

func scanLetter(rows *sql.Rows) (l applier.Letter, err error) {
	err = rows.Scan(&l.ID, &l.State, &l.Header, &l.Kind, &l.Key, &l.ViewKeys, &l.Data, &l.DataLen, &l.Time,
		&l.Class, &l.Code, &l.Text, &l.Instance, &l.FailedAt, &l.Attempts, &l.Reason, &l.ChangedBy)
	return l, err
}

const (
	epochUp = "UPDATE waltz_high_water_marks SET epoch = epoch + 1, updated_at = " + now + " WHERE number = ?"

	sameEpoch = "UPDATE waltz_high_water_marks SET updated_at = " + now + " WHERE number = ? AND epoch = ?"

	askLetters = "UPDATE waltz_dead_letters SET state = 'retry', changed_by = ?\n" +
		"WHERE name = ? AND version = ? AND `partition` = ? AND transaction_id BETWEEN ? AND ? AND state IN ('dead', 'retry')"

	discardLetter = "UPDATE waltz_dead_letters SET state = 'discarded', reason = ?, changed_by = ?\n" +
		"WHERE name = ? AND version = ? AND `partition` = ? AND transaction_id = ? AND state <> 'discarded'"

	failLetter = "UPDATE waltz_dead_letters SET state = 'dead', error_class = ?, error_code = ?, error = ?, instance = ?, failed_at = " + now + ", attempts = attempts + 1\n" +
		"WHERE name = ? AND version = ? AND `partition` = ? AND transaction_id = ? AND state IN ('held', 'retry')"
)

// Ask implements applier.Letters.
func (d *database) Ask(ctx context.Context, r applier.Ref, first, last waltz.ID, by string) (int, error) {
	return d.changeLetters(ctx, r, askLetters, fit(by, 100), r.Name, r.Version, int(r.Partition), int64(first), int64(last))
}

// Discard implements applier.Letters.
func (d *database) Discard(ctx context.Context, r applier.Ref, id waltz.ID, reason, by string) (bool, error) {
	n, err := d.changeLetters(ctx, r, discardLetter, fit(reason, textMax), fit(by, 100), r.Name, r.Version, int(r.Partition), int64(id))
	return n > 0, err
}

// changeLetters raises the epoch if it changes any. The row comes first, as in
// every step, so that nobody waits for it with letters locked; if it turns
// out that there was nothing to change, everything is taken back.
func (d *database) changeLetters(ctx context.Context, r applier.Ref, query string, args ...any) (int, error) {
	c, err := connect(ctx, d.writes)
	if err != nil {
		return 0, err
	}
	defer c.release(ctx)
	if err := c.begin(ctx, "START TRANSACTION"); err != nil {
		return 0, err
	}
	if _, err := c.exec(ctx, epochUp, r.Number); err != nil {
		return 0, err
	}
	n, err := c.exec(ctx, query, args...)
	if err != nil || n == 0 {
		return 0, err
	}
	if err := c.commit(ctx); err != nil {
		return 0, err
	}
	return int(n), nil
}

// Failed implements applier.Database.
func (d *database) Failed(ctx context.Context, r applier.Ref, epoch int64, l applier.Letter) error {
	return d.alone(ctx, func(c *conn) error {
		n, err := c.exec(ctx, sameEpoch, r.Number, epoch)
		if err != nil {
			return err
		}
		if n == 0 {
			return applier.ErrLost
		}
		_, err = c.exec(ctx, failLetter, l.Class, fit(l.Code, 64), fit(l.Text, textMax), fit(l.Instance, 100), r.Name, r.Version, int(r.Partition), int64(l.ID))
		return err
	})
}
