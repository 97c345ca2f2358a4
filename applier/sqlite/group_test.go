package sqlite

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// errNo is what a step of these tests says.
var errNo = errors.New("no")

// together makes one step per function join one SQL transaction, and returns
// what Apply answered each.
func together(t *testing.T, work ...func(context.Context, Tx) error) (*database, []error) {
	t.Helper()
	empty := newEmpty(t)
	conn, err := empty.Connect()
	require.NoError(t, err)
	d := conn.(*database)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	require.NoError(t, empty.Exec("CREATE TABLE parents (id INTEGER PRIMARY KEY) STRICT"))
	require.NoError(t, empty.Exec("CREATE TABLE rows (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED) STRICT"))
	rows, err := d.Load(t.Context(), applier.Identity{Name: "group", Version: 1, LogID: "log"}, len(work))
	require.NoError(t, err)

	s := <-d.w.turn // so that all of them wait for the turn
	answers := make([]chan error, len(work))
	for i, w := range work {
		answers[i] = make(chan error, 1)
		step := &applier.Step[Tx]{Ref: rows[i].Ref, Old: waltz.None, New: 0, Work: w}
		go func() { answers[i] <- d.Apply(t.Context(), step) }()
	}
	require.Eventually(t, func() bool { return d.w.waiting.Load() == int32(len(work)) }, patience, 1)
	d.w.turn <- s
	out := make([]error, len(work))
	for i := range answers {
		out[i] = <-answers[i]
	}
	return d, out
}

const patience = 30e9

func insert(id int) func(context.Context, Tx) error {
	return func(ctx context.Context, tx Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO rows (id) VALUES (?)", id)
		return err
	}
}

func (d *database) ids(t *testing.T) (ids []int) {
	t.Helper()
	require.NoError(t, d.read(t.Context(), func(s *session) error {
		rows, err := s.rows(t.Context(), "SELECT id FROM rows ORDER BY id", nil, nil)
		for err == nil && rows.Next() {
			id := 0
			err = rows.Scan(&id)
			ids = append(ids, id)
		}
		return errors.Join(err, rows.Err())
	}))
	return ids
}

func TestGroupSharesOneCommit(t *testing.T) {
	d, errs := together(t, insert(1), insert(2), insert(3))
	require.Equal(t, []error{nil, nil, nil}, errs)
	require.Equal(t, []int{1, 2, 3}, d.ids(t))
	require.Nil(t, d.w.group)
}

// An error of one step takes nothing of the others with it, wherever it is in
// the group.
func TestGroupKeepsTheOthers(t *testing.T) {
	fails := func(ctx context.Context, tx Tx) error {
		return errors.Join(insert(9)(ctx, tx), errNo)
	}
	for at := range 3 {
		work := []func(context.Context, Tx) error{insert(1), insert(2), insert(3)}
		work[at] = fails
		d, errs := together(t, work...)
		for i, err := range errs {
			if i == at {
				require.ErrorIs(t, err, errNo)
			} else {
				require.NoError(t, err)
			}
		}
		require.Len(t, d.ids(t), 2)
		require.NotContains(t, d.ids(t), 9)
	}
}

// A deferred constraint fails at COMMIT, for all of a group. Nobody may be blamed
// for another's row: all try again, alone.
func TestGroupThatFailsAtCommit(t *testing.T) {
	orphan := func(ctx context.Context, tx Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO rows VALUES (7, 4711)")
		return err
	}
	d, errs := together(t, insert(1), orphan)
	for _, err := range errs {
		f, _ := d.Fault(err)
		require.Equal(t, "SQLITE_CONSTRAINT_FOREIGNKEY", f.Code)
		require.ErrorContains(t, err, "commit")
	}
	require.Empty(t, d.ids(t))
	rows, err := d.Load(t.Context(), applier.Identity{Name: "group", Version: 1, LogID: "log"}, 2)
	require.NoError(t, err)
	require.Positive(t, d.w.solo)
	require.NoError(t, d.Apply(t.Context(), &applier.Step[Tx]{Ref: rows[0].Ref, Old: waltz.None, New: 0, Work: insert(1)}))
	err = d.Apply(t.Context(), &applier.Step[Tx]{Ref: rows[1].Ref, Old: waltz.None, New: 0, Work: orphan})
	f, _ := d.Fault(err)
	require.Equal(t, applier.ClassData, f.Class, "alone, it is the culprit")
	require.Equal(t, []int{1}, d.ids(t))
}
