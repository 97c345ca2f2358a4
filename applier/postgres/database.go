package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waltz-log/waltz/applier"
)

// database is applier.Database on one database of a server. Readers have
// connections of their own, so that contexts that hold one while they do something
// else don't stop the view.
type database struct {
	address string // without the password
	writers *pgxpool.Pool
	readers *readers
	pooled  bool              // there is a pooler on the way
	local   string            // statement that sets timeouts for one SQL transaction; "" if connections have them
	mode    pgx.QueryExecMode // of handlers' queries

	id           string // makes names of statements unlike other processes'
	names        atomic.Int64
	descriptions descriptions // empty unless pooled
	careful      atomic.Int64 // for how many more steps keys are looked for first; below 0: none
}

var _ applier.Database[*Tx, *Snapshot] = (*database)(nil)

// Close closes all connections.
func (d *database) Close() error {
	d.writers.Close()
	d.readers.close()
	return nil
}

// Fault implements applier.Database.
func (d *database) Fault(err error) (applier.Fault, bool) {
	f, is := fault(err)
	if f.Code == connectionCode {
		f.Text = strings.TrimSuffix(d.address+": "+f.Text, ": ")
	}
	return f, is
}

// connecting tells trouble of getting a connection.
func connecting(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &lostError{err}
}

// querier is a pool, or an SQL transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// unprepared is how the framework's own statements run outside of steps: nothing is
// left behind in a server's process that may be another one's next.
const unprepared = pgx.QueryExecModeExec

// all reads the rows of a statement of the framework's.
func all[T any](ctx context.Context, q querier, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, append([]any{unprepared}, args...)...)
	if err != nil {
		return nil, outside(err)
	}
	out, err := pgx.CollectRows(rows, scan)
	return out, outside(err)
}

// one reads a row that must be there.
func one[T any](ctx context.Context, q querier, scan pgx.RowToFunc[T], sql string, args ...any) (v T, err error) {
	out, err := all(ctx, q, scan, sql, args...)
	if err != nil {
		return v, err
	}
	if len(out) == 0 {
		return v, pgx.ErrNoRows
	}
	return out[0], nil
}

// run runs a statement of the framework's, and returns how many rows it changed.
func (d *database) run(ctx context.Context, sql string, args ...any) (int64, error) {
	tag, err := d.writers.Exec(ctx, sql, append([]any{unprepared}, args...)...)
	return tag.RowsAffected(), outside(err)
}

// outside tells an error of a pool's connection, which is out of reach by now: what
// the server did not say is the connection's.
func outside(err error) error {
	for _, known := range []error{nil, context.Canceled, context.DeadlineExceeded, pgx.ErrNoRows, applier.ErrLost} {
		if errors.Is(err, known) {
			return err
		}
	}
	if _, is := stateFault(err); is {
		return err
	}
	return &lostError{err}
}

// The mark is read with what an operator wants to know beside it.
const selectRow = `
SELECT m.number, m.name, m.version, m.partition, m.high_water_mark, m.epoch, m.owner, m.log_id, m.skipped, m.meaning_hash, d.n, d.held, d.first
FROM waltz_high_water_marks m, LATERAL (
	SELECT count(*) AS n, count(*) FILTER (WHERE l.state = 'held') AS held, coalesce(min(l.transaction_id), -1) AS first
	FROM waltz_dead_letters l
	WHERE l.name = m.name AND l.version = m.version AND l.partition = m.partition AND l.state <> 'discarded') d
WHERE `

func scanRow(r pgx.CollectableRow) (row applier.Row, err error) {
	err = r.Scan(&row.Number, &row.Name, &row.Version, &row.Partition, &row.HighWaterMark, &row.Epoch, &row.Owner, &row.LogID, &row.Skipped, &row.Meaning,
		&row.Dead, &row.Held, &row.FirstDead)
	return row, err
}

const (
	rowOfPartition = selectRow + `m.name = $1 AND m.version = $2 AND m.partition = $3`
	rowsOfView     = selectRow + `m.name = $1 AND m.version = $2 ORDER BY m.partition`

	// lockView makes instances that load a view wait for each other, until the end of
	// the SQL transaction. ON CONFLICT would do, but wait for whoever has a row locked.
	lockView = `SELECT pg_advisory_xact_lock(hashtext('waltz'), hashtext($1))`

	otherLog = `SELECT count(*) FROM waltz_high_water_marks WHERE name = $1 AND version = $2 AND log_id <> $3`
	seedRows = `
INSERT INTO waltz_high_water_marks (name, version, partition, high_water_mark, epoch, owner, lease_until, log_id, meaning_hash, state, updated_at, applied, dead, skipped, last_error_code)
SELECT $1, $2, p, -1, 0, '', 'epoch', $3, '', '', ` + now + `, 0, 0, 0, '' FROM generate_series(0, $4::int - 1) p
WHERE NOT EXISTS (SELECT 1 FROM waltz_high_water_marks WHERE name = $1 AND version = $2 AND partition = p)`
)

// Load implements applier.Database.
func (d *database) Load(ctx context.Context, v applier.Identity, partitions int) (rows []applier.Row, err error) {
	err = d.inTransaction(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockView, v.Name); err != nil {
			return err
		}
		others, err := one(ctx, tx, pgx.RowTo[int], otherLog, v.Name, v.Version, v.LogID)
		if err != nil {
			return err
		}
		if others == 0 {
			if _, err := tx.Exec(ctx, seedRows, v.Name, v.Version, v.LogID, partitions); err != nil {
				return err
			}
		}
		rows, err = all(ctx, tx, scanRow, rowsOfView, v.Name, v.Version)
		return err
	})
	if err != nil {
		return nil, err
	}
	for p, r := range rows {
		if int(r.Partition) != p {
			return nil, fmt.Errorf("waltz_high_water_marks has %d rows of view %s version %d, and none of partition %d: some are missing", len(rows), v.Name, v.Version, p)
		}
	}
	return rows, nil
}

func (d *database) inTransaction(ctx context.Context, do func(pgx.Tx) error) error {
	err := pgx.BeginTxFunc(ctx, d.writers, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, do)
	return outside(err)
}

// Read implements applier.Database.
func (d *database) Read(ctx context.Context, r applier.Ref) (applier.Row, error) {
	return one(ctx, d.readers.pool, scanRow, rowOfPartition, r.Name, r.Version, int(r.Partition))
}

const acquireLease = `
UPDATE waltz_high_water_marks SET
	epoch = epoch + (owner <> $1)::int, owner = $1, lease_until = ` + now + ` + $2::bigint * interval '1 millisecond', updated_at = ` + now + `
WHERE number = $3 AND (owner = $1 OR lease_until <= ` + now + `)`

// Acquire implements applier.Database.
func (d *database) Acquire(ctx context.Context, r applier.Ref, owner string, lease time.Duration) (row applier.Row, mine bool, err error) {
	n, err := d.run(ctx, acquireLease, owner, lease.Milliseconds(), r.Number)
	if err != nil {
		return row, false, err
	}
	row, err = one(ctx, d.writers, scanRow, rowOfPartition, r.Name, r.Version, int(r.Partition))
	return row, n == 1, err
}

const note = `UPDATE waltz_high_water_marks SET state = $1, last_error_code = $2, updated_at = ` + now + ` WHERE number = $3 AND epoch = $4`

// Note implements applier.Database.
func (d *database) Note(ctx context.Context, r applier.Ref, epoch int64, state, code string) error {
	_, err := d.run(ctx, note, state, code, r.Number, epoch)
	return err
}

const deadSince = `
SELECT count(*) FROM waltz_dead_letters
WHERE name = $1 AND version = $2 AND attempts = 1 AND failed_at > ` + now + ` - $3::bigint * interval '1 millisecond'`

// DeadSince implements applier.Database.
func (d *database) DeadSince(ctx context.Context, v applier.Identity, window time.Duration) (int, error) {
	return one(ctx, d.writers, pgx.RowTo[int], deadSince, v.Name, v.Version, window.Milliseconds())
}
