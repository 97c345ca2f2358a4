package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz"
)

const (
	readMark = `SELECT high_water_mark FROM waltz_high_water_marks WHERE number = $1`

	// readMarkAndKey looks a key up on the way.
	readMarkAndKey = `
SELECT m.high_water_mark, (SELECT k.transaction_id FROM waltz_keys k WHERE k.number = m.number AND k.business_key = $2)
FROM waltz_high_water_marks m WHERE m.number = $1`

	findKey = `SELECT transaction_id FROM waltz_keys WHERE number = $1 AND business_key = $2`

	// oneState is what a snapshot is: its first read, the mark, fixes it.
	oneState  = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
	beginRead = "BEGIN " + oneState
	endRead   = "ROLLBACK"
)

// lookup is a key that was looked up with the mark.
type lookup struct {
	number int64 // of the row
	key    string
	id     waltz.ID // waltz.None: it is not there
}

var _ applier.KeyedDatabase[*Snapshot] = (*database)(nil)

// Snapshot implements applier.Database.
func (d *database) Snapshot(ctx context.Context, r applier.Ref, read func(context.Context, *Snapshot, waltz.ID) error) error {
	return d.snapshot(ctx, readMark, []any{r.Number}, func(h *handle) error {
		return read(ctx, &Snapshot{h: h}, waltz.ID(h.s.value))
	})
}

// SnapshotFor implements applier.KeyedDatabase.
func (d *database) SnapshotFor(ctx context.Context, r applier.Ref, key string, read func(context.Context, *Snapshot, waltz.ID) error) error {
	return d.snapshot(ctx, readMarkAndKey, []any{r.Number, []byte(key)}, func(h *handle) error {
		return read(ctx, &Snapshot{h, &lookup{r.Number, key, waltz.ID(h.s.other)}}, waltz.ID(h.s.value))
	})
}

// snapshot begins an SQL transaction whose first read is mark, in one round trip, and
// calls read.
func (d *database) snapshot(ctx context.Context, mark string, args []any, read func(*handle) error) (err error) {
	r, err := d.readers.take(ctx, d)
	if err != nil {
		return err
	}
	defer d.readers.give(ctx, r)
	if err := r.look(ctx, mark, args); err != nil {
		d.afterError(ctx, r.session, err)
		return err
	}
	h := &handle{s: r.session}
	defer func() { _ = h.end(err) }() // a reader that goes on after an error harms nobody
	return read(h)
}

// look begins and reads the mark. If the connection was passed on, it first ends the
// SQL transaction of the one before: what follows must be a state of its own.
func (s *session) look(ctx context.Context, mark string, args []any) error {
	if err := s.beginReading(ctx); err != nil {
		return err
	}
	if err := s.send(ctx, sent{what: wantValue}, mark, args); err != nil {
		return err
	}
	return s.sync()
}

func (s *session) beginReading(ctx context.Context) error {
	if s.d.pooled {
		return s.begin(ctx, oneState)
	}
	if s.conn.PgConn().TxStatus() != 'I' && !mutant.On("postgres-passed-on-snapshot") {
		if err := s.send(ctx, sent{}, endRead, nil); err != nil {
			return err
		}
	}
	return s.send(ctx, sent{}, beginRead, nil)
}

// Key implements applier.Database.
func (d *database) Key(ctx context.Context, s *Snapshot, r applier.Ref, key string) (waltz.ID, bool, error) {
	if l := s.done; l != nil && l.number == r.Number && l.key == key {
		return l.id, l.id != waltz.None, s.h.usable(ctx)
	}
	var id waltz.ID
	err := s.h.queryRow(ctx, findKey, []any{r.Number, []byte(key)}).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return waltz.None, false, nil
	}
	if err != nil {
		return waltz.None, false, err
	}
	return id, true, nil
}
