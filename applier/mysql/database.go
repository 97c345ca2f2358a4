package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz"
)

// database is applier.Database on one schema of a server.
type database struct {
	address       string // without the password
	writes, reads *sql.DB
	facts
}

var _ applier.Database[*Tx, *Snapshot] = (*database)(nil)

// Close closes all connections.
func (d *database) Close() error { return errors.Join(d.writes.Close(), d.reads.Close()) }

// Fault implements applier.Database.
func (d *database) Fault(err error) (applier.Fault, bool) {
	f, is := d.fault(err)
	if f.Code == connectionCode { // the driver's words don't say of which
		f.Text = d.address + ": " + f.Text
	}
	return f, is
}

// The mark is read with what an operator wants to know beside it.
const selectRow = "SELECT number, `partition`, high_water_mark, epoch, owner, log_id, skipped, meaning_hash, d.n, d.held, d.first\n" +
	"FROM waltz_high_water_marks m, (\n" +
	"	SELECT count(*) AS n, count(CASE WHEN state = 'held' THEN 1 END) AS held, coalesce(min(transaction_id), -1) AS first\n" +
	"	FROM waltz_dead_letters\n" +
	"	WHERE name = ? AND version = ? AND `partition` = ? AND state <> 'discarded') d\n" +
	"WHERE m.name = ? AND m.version = ? AND m.`partition` = ?"

// querier is a connection or a pool.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readRow finds the row of a partition.
func readRow(ctx context.Context, q querier, v applier.Identity, p waltz.Partition) (applier.Row, error) {
	row := applier.Row{Ref: applier.Ref{Identity: v}}
	err := q.QueryRowContext(ctx, selectRow, v.Name, v.Version, int(p), v.Name, v.Version, int(p)).
		Scan(&row.Number, &row.Partition, &row.HighWaterMark, &row.Epoch, &row.Owner, &row.LogID, &row.Skipped, &row.Meaning,
			&row.Dead, &row.Held, &row.FirstDead)
	return row, err
}

const (
	countRows = "SELECT count(*), coalesce(max(`partition`), -1), count(CASE WHEN log_id <> ? THEN 1 END)\n" +
		"FROM waltz_high_water_marks WHERE name = ? AND version = ?"
	seedRow = "INSERT INTO waltz_high_water_marks (name, version, `partition`, high_water_mark, epoch, owner, lease_until, log_id, meaning_hash, state, updated_at, applied, dead, skipped, last_error_code)\n" +
		"VALUES (?, ?, ?, -1, 0, '', " + never + ", ?, '', '', " + now + ", 0, 0, 0, '')\n" +
		"ON DUPLICATE KEY UPDATE epoch = epoch"
	// now is this database's clock, in milliseconds.
	now = "UTC_TIMESTAMP(3)"
	// never is a lease that nobody has.
	never = "'1970-01-01 00:00:00'"
)

// loadTries bounds how often instances that start at once may get into each other's way.
const loadTries = 10

// Load implements applier.Database.
func (d *database) Load(ctx context.Context, v applier.Identity, partitions int) (rows []applier.Row, err error) {
	for range loadTries {
		err = d.alone(ctx, func(c *conn) error {
			rows, err = load(ctx, c, v, partitions)
			return err
		})
		if f, is := d.fault(err); !is || f.Class != applier.ClassRetry {
			break
		}
	}
	return rows, err
}

// load seeds only what is missing: an INSERT locks, even where it changes nothing.
func load(ctx context.Context, c *conn, v applier.Identity, partitions int) ([]applier.Row, error) {
	var count, last, others int
	look := func() error {
		return c.one(ctx, countRows, []any{v.LogID, v.Name, v.Version}, &count, &last, &others)
	}
	if err := look(); err != nil {
		return nil, err
	}
	for p := 0; others == 0 && count < partitions && p < partitions; p++ {
		if _, err := c.exec(ctx, seedRow, v.Name, v.Version, p, v.LogID); err != nil {
			return nil, err
		}
	}
	if err := look(); err != nil {
		return nil, err
	}
	if count != last+1 {
		return nil, fmt.Errorf("waltz_high_water_marks has %d rows of view %s version %d, up to partition %d: some are missing", count, v.Name, v.Version, last)
	}
	rows := make([]applier.Row, count)
	for p := range rows {
		var err error
		if rows[p], err = readRow(ctx, c, v, waltz.Partition(p)); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// alone does something in an SQL transaction of its own.
func (d *database) alone(ctx context.Context, do func(*conn) error) error {
	c, err := connect(ctx, d.writes)
	if err != nil {
		return err
	}
	defer c.release(ctx)
	if err := c.begin(ctx, "START TRANSACTION"); err != nil {
		return err
	}
	if err := do(c); err != nil {
		return err
	}
	return c.commit(ctx)
}

// Read implements applier.Database.
func (d *database) Read(ctx context.Context, r applier.Ref) (applier.Row, error) {
	return readRow(ctx, d.reads, r.Identity, r.Partition)
}

// The epoch is set before the owner, since assignments are made from left to right.
const acquireLease = "UPDATE waltz_high_water_marks SET\n" +
	"	epoch = epoch + (owner <> ?), owner = ?, lease_until = " + now + " + INTERVAL ? MICROSECOND, updated_at = " + now + "\n" +
	"WHERE number = ? AND (owner = ? OR lease_until <= " + now + ")"

// Acquire implements applier.Database.
func (d *database) Acquire(ctx context.Context, r applier.Ref, owner string, lease time.Duration) (row applier.Row, mine bool, err error) {
	err = d.alone(ctx, func(c *conn) error {
		n, err := c.exec(ctx, acquireLease, owner, owner, lease.Microseconds(), r.Number, owner)
		if err != nil {
			return err
		}
		mine = n == 1
		row, err = readRow(ctx, c, r.Identity, r.Partition)
		return err
	})
	return row, mine && err == nil, err
}

const note = "UPDATE waltz_high_water_marks SET state = ?, last_error_code = ?, updated_at = " + now + " WHERE number = ? AND epoch = ?"

// Note implements applier.Database.
func (d *database) Note(ctx context.Context, r applier.Ref, epoch int64, state, code string) error {
	_, err := d.writes.ExecContext(ctx, note, state, code, r.Number, epoch)
	return err
}

const deadSince = "SELECT count(*) FROM waltz_dead_letters WHERE name = ? AND version = ? AND attempts = 1 AND failed_at > " + now + " - INTERVAL ? MICROSECOND"

// DeadSince implements applier.Database.
func (d *database) DeadSince(ctx context.Context, v applier.Identity, window time.Duration) (n int, err error) {
	err = d.reads.QueryRowContext(ctx, deadSince, v.Name, v.Version, window.Microseconds()).Scan(&n)
	return n, err
}

const findKey = "SELECT transaction_id FROM waltz_keys WHERE number = ? AND business_key = ?"

// Key implements applier.Database.
func (d *database) Key(ctx context.Context, s *Snapshot, r applier.Ref, key string) (waltz.ID, bool, error) {
	id := waltz.None
	err := s.QueryRow(ctx, findKey, r.Number, []byte(key)).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return waltz.None, false, nil
	}
	return id, err == nil, err
}

const readMark = "SELECT high_water_mark FROM waltz_high_water_marks WHERE number = ?"

// Snapshot implements applier.Database. At REPEATABLE READ the first read is what
// is seen until the end, and it reads the mark.
func (d *database) Snapshot(ctx context.Context, r applier.Ref, read func(context.Context, *Snapshot, waltz.ID) error) error {
	pool := d.reads
	if mutant.On("mysql-snapshot-at-read-committed") {
		pool = d.writes
	}
	c, err := connect(ctx, pool)
	if err != nil {
		return err
	}
	defer c.release(ctx)
	if err := c.begin(ctx, "START TRANSACTION READ ONLY"); err != nil {
		return err
	}
	mark := waltz.None
	if err := c.one(ctx, readMark, []any{r.Number}, &mark); err != nil {
		return err
	}
	s := &Snapshot{handle{c: c}}
	err = read(ctx, s, mark)
	_ = s.end(err) // a reader that goes on after an error harms nobody
	if _, end := c.exec(ctx, rollBack); end == nil {
		c.open = false
	}
	return err
}
