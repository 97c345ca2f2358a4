package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// snapshotsMax bounds the connections that read. SQLite reads on the caller's
// CPU, so that more of them than CPUs only serve contexts that hold one while
// they do something else.
const snapshotsMax = 16

// database is applier.Database on one file.
type database struct {
	w       *writer
	path    string
	readers chan *session // nil: one that may be opened
}

var _ applier.Database[Tx, Snapshot] = (*database)(nil)

func openDatabase(path string) (*database, error) {
	w, err := newWriter(path)
	if err != nil {
		return nil, err
	}
	d := &database{w: w, path: path, readers: make(chan *session, snapshotsMax)}
	for range snapshotsMax {
		d.readers <- nil
	}
	return d, nil
}

// Close closes all connections.
func (d *database) Close() error {
	err := d.w.close()
	for range snapshotsMax {
		if s := <-d.readers; s != nil {
			err = errors.Join(err, s.close())
		}
	}
	return err
}

// Fault implements applier.Database.
func (d *database) Fault(err error) (applier.Fault, bool) { return fault(err) }

// The mark is read with what an operator wants to know beside it.
const selectRow = `
SELECT number, partition, high_water_mark, epoch, owner, log_id, skipped, meaning_hash, d.n, d.held, d.first
FROM waltz_high_water_marks m, (
	SELECT count(*) AS n, count(CASE WHEN state = 'held' THEN 1 END) AS held, coalesce(min(transaction_id), -1) AS first
	FROM waltz_dead_letters
	WHERE name = ?1 AND version = ?2 AND partition = ?3 AND state <> 'discarded') d
WHERE m.name = ?1 AND m.version = ?2 AND m.partition = ?3`

// readRow finds the row of a partition.
func readRow(s *session, v applier.Identity, p waltz.Partition) (applier.Row, error) {
	row := applier.Row{Ref: applier.Ref{Identity: v}}
	err := s.one(selectRow, []any{v.Name, v.Version, int(p)},
		&row.Number, &row.Partition, &row.HighWaterMark, &row.Epoch, &row.Owner, &row.LogID, &row.Skipped, &row.Meaning,
		&row.Dead, &row.Held, &row.FirstDead)
	return row, err
}

const (
	countRows = `SELECT count(*), coalesce(max(partition), -1) FROM waltz_high_water_marks WHERE name = ? AND version = ?`
	otherLog  = `SELECT count(*) FROM waltz_high_water_marks WHERE name = ? AND version = ? AND log_id <> ?`
	seedRow   = `
INSERT INTO waltz_high_water_marks (name, version, partition, high_water_mark, epoch, owner, lease_until, log_id, meaning_hash, state, updated_at, applied, dead, skipped, last_error_code)
VALUES (?, ?, ?, -1, 0, '', 0, ?, '', '', ` + now + `, 0, 0, 0, '')
ON CONFLICT DO NOTHING`
	// now is this database's clock, in milliseconds.
	now = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`
)

// Load implements applier.Database.
func (d *database) Load(ctx context.Context, v applier.Identity, partitions int) (rows []applier.Row, err error) {
	err = d.w.alone(ctx, func(s *session) error {
		rows, err = load(s, v, partitions)
		return err
	})
	return rows, err
}

func load(s *session, v applier.Identity, partitions int) ([]applier.Row, error) {
	var others int
	if err := s.one(otherLog, []any{v.Name, v.Version, v.LogID}, &others); err != nil {
		return nil, err
	}
	for p := 0; others == 0 && p < partitions; p++ {
		if _, err := s.exec(seedRow, nil, []any{v.Name, v.Version, p, v.LogID}); err != nil {
			return nil, err
		}
	}
	var count, last int
	if err := s.one(countRows, []any{v.Name, v.Version}, &count, &last); err != nil {
		return nil, err
	}
	if count != last+1 {
		return nil, fmt.Errorf("waltz_high_water_marks has %d rows of view %s version %d, up to partition %d: some are missing", count, v.Name, v.Version, last)
	}
	rows := make([]applier.Row, count)
	for p := range rows {
		var err error
		if rows[p], err = readRow(s, v, waltz.Partition(p)); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// Read implements applier.Database.
func (d *database) Read(ctx context.Context, r applier.Ref) (row applier.Row, err error) {
	err = d.read(ctx, func(s *session) error {
		row, err = readRow(s, r.Identity, r.Partition)
		return err
	})
	return row, err
}

const acquireLease = `
UPDATE waltz_high_water_marks SET
	epoch = epoch + (owner <> ?1), owner = ?1, lease_until = ` + now + ` + ?2, updated_at = ` + now + `
WHERE number = ?3 AND (owner = ?1 OR lease_until <= ` + now + `)`

// Acquire implements applier.Database.
func (d *database) Acquire(ctx context.Context, r applier.Ref, owner string, lease time.Duration) (row applier.Row, mine bool, err error) {
	err = d.w.alone(ctx, func(s *session) error {
		n, err := s.exec(acquireLease, nil, []any{owner, lease.Milliseconds(), r.Number})
		if err != nil {
			return err
		}
		mine = n == 1
		row, err = readRow(s, r.Identity, r.Partition)
		return err
	})
	return row, mine, err
}

const note = `UPDATE waltz_high_water_marks SET state = ?, last_error_code = ?, updated_at = ` + now + ` WHERE number = ? AND epoch = ?`

// Note implements applier.Database.
func (d *database) Note(ctx context.Context, r applier.Ref, epoch int64, state, code string) error {
	return d.w.alone(ctx, func(s *session) error {
		_, err := s.exec(note, nil, []any{state, code, r.Number, epoch})
		return err
	})
}

const deadSince = `SELECT count(*) FROM waltz_dead_letters WHERE name = ? AND version = ? AND attempts = 1 AND failed_at > ` + now + ` - ?`

// DeadSince implements applier.Database.
func (d *database) DeadSince(ctx context.Context, v applier.Identity, window time.Duration) (n int, err error) {
	err = d.read(ctx, func(s *session) error {
		return s.one(deadSince, []any{v.Name, v.Version, window.Milliseconds()}, &n)
	})
	return n, err
}

const findKey = `SELECT transaction_id FROM waltz_keys WHERE number = ? AND business_key = ?`

// Key implements applier.Database.
func (d *database) Key(ctx context.Context, s Snapshot, r applier.Ref, key string) (waltz.ID, bool, error) {
	if err := s.h.ready(ctx); err != nil {
		return waltz.None, false, err
	}
	id := waltz.None
	err := s.h.s.one(findKey, []any{r.Number, key}, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return waltz.None, false, nil
	}
	return id, err == nil, err
}

const readMark = `SELECT high_water_mark FROM waltz_high_water_marks WHERE number = ?`

// Snapshot implements applier.Database. The first read of a deferred transaction
// is what it sees until its end.
func (d *database) Snapshot(ctx context.Context, r applier.Ref, read func(context.Context, Snapshot, waltz.ID) error) error {
	var inner error
	err := d.read(ctx, func(s *session) error {
		if _, err := s.exec("BEGIN", nil, nil); err != nil {
			return err
		}
		mark := waltz.None
		if err := s.one(readMark, []any{r.Number}, &mark); err != nil {
			return errors.Join(err, rollBack(s))
		}
		h := &handle{s: s}
		inner = read(ctx, Snapshot{h}, mark)
		_ = h.end(inner) // a reader that goes on after an error harms nobody
		return rollBack(s)
	})
	if inner != nil {
		return inner
	}
	return err
}

func rollBack(s *session) error {
	_, err := s.exec("ROLLBACK", nil, nil)
	return err
}

// read lends out a connection that reads. One that made an error is replaced.
func (d *database) read(ctx context.Context, do func(*session) error) error {
	var s *session
	select {
	case s = <-d.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	ok := false // a panic of the reader's must not leave its transaction behind
	defer func() {
		if !ok && s != nil {
			_ = s.close() // the error that matters is the one that broke it
			s = nil
		}
		d.readers <- s
	}()
	if s == nil {
		var err error
		if s, err = openSession(d.path); err != nil {
			return err
		}
		if _, err := s.exec("PRAGMA query_only = 1", nil, nil); err != nil {
			return err
		}
	}
	err := do(s)
	ok = err == nil
	return err
}
