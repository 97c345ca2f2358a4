package postgres

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/waltz"
)

// bench is a database with one row of a view, for steps by hand.
type bench struct {
	*testing.T
	*database
	conn    *pgx.Conn
	address string
	row     applier.Row
}

func newBench(t *testing.T, address string) *bench {
	t.Helper()
	require.NoError(t, migrate(t.Context(), address, applier.Options{}))
	d, err := openDatabase(t.Context(), address, "bench")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	b := &bench{T: t, database: d, address: address, conn: connect(t, address)}
	rows, err := d.Load(t.Context(), applier.Identity{Name: "bench", Version: 1, LogID: "log"}, 1)
	require.NoError(t, err)
	b.row = rows[0]
	b.exec("CREATE TABLE t (id bigint PRIMARY KEY, n bigint NOT NULL CHECK (n <> 666), x jsonb)")
	return b
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func (b *bench) exec(query string, args ...any) {
	b.Helper()
	_, err := b.conn.Exec(b.Context(), query, args...)
	require.NoError(b, err)
}

func (b *bench) count(query string) (n int64) {
	b.Helper()
	require.NoError(b, b.conn.QueryRow(b.Context(), query).Scan(&n))
	return n
}

// step applies work from a mark to the next one.
func (b *bench) step(old waltz.ID, work func(ctx context.Context, tx *Tx) error) error {
	return b.Apply(b.Context(), &applier.Step[*Tx]{Ref: b.row.Ref, Old: old, New: old + 1, Epoch: b.row.Epoch, Owner: "me", Transactions: 1, Work: work})
}

func (b *bench) mark() waltz.ID {
	b.Helper()
	return waltz.ID(b.count("SELECT high_water_mark FROM waltz_high_water_marks"))
}

func insert(id int) func(context.Context, *Tx) error {
	return func(ctx context.Context, tx *Tx) error { return tx.Queue(ctx, "INSERT INTO t VALUES ($1, 0)", id) }
}

// D2, the trap as it is: statements of a batch without BEGIN are one implicit SQL
// transaction, and a compare-and-set that matches no row does not stop it.
func TestTheTrapOfPipelinedBatches(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	var q pgx.Batch
	q.Queue("UPDATE waltz_high_water_marks SET high_water_mark = 8 WHERE number = $1 AND high_water_mark = 7", b.row.Number)
	q.Queue("INSERT INTO t VALUES (1, 0)")
	require.NoError(t, b.conn.SendBatch(t.Context(), &q).Close())
	require.Equal(t, int64(1), b.count("SELECT count(*) FROM t"), "the stale write is there")
}

// D2, and how it is avoided: a stale step, by mark or by epoch, leaves nothing, though
// its statements were sent together with its compare-and-set.
func TestStaleStepWritesNothing(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	require.ErrorIs(t, b.step(7, insert(1)), applier.ErrLost)
	b.row.Epoch++
	require.ErrorIs(t, b.step(waltz.None, insert(2)), applier.ErrLost)
	b.row.Epoch--
	b.row.Number++ // no such row: nothing divides by zero
	require.ErrorIs(t, b.step(waltz.None, insert(3)), applier.ErrLost)
	b.row.Number--
	require.Zero(t, b.count("SELECT count(*) FROM t"))
	require.NoError(t, b.step(waltz.None, insert(4)))
	require.Equal(t, int64(1), b.count("SELECT count(*) FROM t"))
	require.Equal(t, waltz.ID(0), b.mark())
}

// A loser must not even try what it would have written: it might wait for locks, or
// make an error that looks like the data's.
func TestStaleStepStopsAtItsFirstStatement(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	b.exec("CREATE SEQUENCE touched")
	err := b.step(7, func(ctx context.Context, tx *Tx) error {
		for range 3 * pieceStatements {
			if err := tx.Queue(ctx, "INSERT INTO t SELECT nextval('touched'), 0"); err != nil {
				return errors.New("a handler's own words for it")
			}
		}
		return nil
	})
	require.ErrorIs(t, err, applier.ErrLost)
	var called bool
	require.NoError(t, b.conn.QueryRow(t.Context(), "SELECT is_called FROM touched").Scan(&called))
	require.False(t, called)
}

// D1: whoever comes second waits for the first, and then finds that it has lost.
func TestStepsOfOnePartitionWait(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	inside, second := make(chan struct{}), make(chan error, 1)
	require.NoError(t, b.step(waltz.None, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO t VALUES (1, 0)"); err != nil {
			return err
		}
		go func() {
			close(inside)
			second <- b.step(waltz.None, insert(1))
		}()
		<-inside
		return waitFor(ctx, b.address, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
	}))
	require.ErrorIs(t, <-second, applier.ErrLost, "not a duplicate key")
	require.Equal(t, int64(1), b.count("SELECT count(*) FROM t"))
}

// waitFor waits until a query says true.
func waitFor(ctx context.Context, address, query string) error {
	c, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for {
		var is bool
		if err := c.QueryRow(ctx, query).Scan(&is); err != nil || is {
			return err
		}
	}
}

// D3: the SQL transaction is looked at before COMMIT. Whatever has ended it, the
// view stops and says so.
func TestEndedTransactionIsNotCommitted(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	err := b.step(waltz.None, func(ctx context.Context, tx *Tx) error {
		return tx.h.s.words(ctx, "COMMIT") // as nothing that handlers can reach does
	})
	require.ErrorIs(t, err, applier.ErrImplicitCommit)
}

// D3: an error that the handler keeps to itself, in any way of making one.
func TestSwallowedErrorsRollBack(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	b.exec("INSERT INTO t VALUES (1, 0)")
	for name, bad := range map[string]func(ctx context.Context, tx *Tx){
		"queue":  func(ctx context.Context, tx *Tx) { _ = tx.Queue(ctx, "INSERT INTO t VALUES (1, 0)") },
		"exec":   func(ctx context.Context, tx *Tx) { _, _ = tx.Exec(ctx, "INSERT INTO t VALUES (1, 0)") },
		"query":  func(ctx context.Context, tx *Tx) { _, _ = tx.Query(ctx, "INSERT INTO t VALUES (1, 0) RETURNING id") }, //nolint:sqlclosecheck // that is the point
		"unread": func(ctx context.Context, tx *Tx) { _, _ = tx.Query(ctx, "SELECT 1/(n-n) FROM t") },                    //nolint:sqlclosecheck // that is the point
		"row":    func(ctx context.Context, tx *Tx) { tx.QueryRow(ctx, "INSERT INTO t VALUES (1, 0) RETURNING id") },
		"copy": func(ctx context.Context, tx *Tx) {
			_, _ = tx.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "n"}, pgx.CopyFromRows([][]any{{int64(1), int64(0)}}))
		},
		"no text":  func(ctx context.Context, tx *Tx) { _ = tx.Queue(ctx, "INSERT INTO nowhere VALUES (1)") },
		"argument": func(ctx context.Context, tx *Tx) { _ = tx.Queue(ctx, "INSERT INTO t VALUES ($1, 0)", "not a number") },
		"batch": func(ctx context.Context, tx *Tx) {
			var q pgx.Batch
			q.Queue("INSERT INTO t VALUES (2, 0)")
			q.Queue("INSERT INTO t VALUES (1, 0)")
			_ = tx.SendBatch(ctx, &q).Close()
		},
		"open batch": func(ctx context.Context, tx *Tx) {
			var q pgx.Batch
			q.Queue("INSERT INTO t VALUES (1, 0)")
			tx.SendBatch(ctx, &q)
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := b.step(waltz.None, func(ctx context.Context, tx *Tx) error {
				bad(ctx, tx)
				return nil
			})
			require.Error(t, err)
			f, _ := b.Fault(err)
			require.False(t, f.Class.Transient(), "%v", err)
			require.Equal(t, waltz.None, b.mark())
			require.Equal(t, int64(1), b.count("SELECT count(*) FROM t"))
		})
	}
	require.NoError(t, b.step(waltz.None, insert(2)), "and the connections are fine")
}

// An error in the handler's own words does not hide what the server said.
func TestRewordedErrorsKeepTheirClass(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	b.exec("CREATE FUNCTION fails() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END$$")
	err := b.step(waltz.None, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.Exec(ctx, "SELECT fails()"); err != nil {
			return errors.New("it does not work")
		}
		return nil
	})
	f, is := b.Fault(err)
	require.True(t, is)
	require.Equal(t, applier.ClassRetry, f.Class)
	require.ErrorContains(t, err, "it does not work")
}

// D7: the server's processes are left as they were, and a pooler is seen.
func TestNothingIsLeftBehindAPooler(t *testing.T) {
	pg := servers.PostgreSQL(t)
	bouncer := dbtest.PgBouncer(t, pg, "transaction")
	address := pg.NewDatabase(t)
	require.False(t, newBench(t, pg.NewDatabase(t)).pooled)
	b := newBench(t, through(t, address, bouncer.Addr())+"&default_query_exec_mode=exec")
	require.True(t, b.pooled)
	for i := range 20 {
		old := waltz.ID(i - 1)
		require.Error(t, b.step(old, func(ctx context.Context, tx *Tx) error {
			if err := insert(i)(ctx, tx); err != nil {
				return err
			}
			return tx.Queue(ctx, "INSERT INTO t VALUES ($1, 666)", i+1000)
		}))
		require.NoError(t, b.step(old, insert(i)))
		require.NoError(t, b.Snapshot(t.Context(), b.row.Ref, func(ctx context.Context, s *Snapshot, mark waltz.ID) error {
			require.Equal(t, old+1, mark)
			var n int
			require.NoError(t, s.QueryRow(ctx, "SELECT count(*) FROM t WHERE id >= $1", 0).Scan(&n))
			require.Equal(t, i+1, n)
			return nil
		}))
	}
	require.Zero(t, b.count("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'waltz%'"))
	var timeout string
	require.NoError(t, b.conn.QueryRow(t.Context(), "SHOW lock_timeout").Scan(&timeout))
	require.Equal(t, "0", timeout)
}
