package postgres

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/waltz"
)

// both runs a test directly and behind a pooler.
func both(t *testing.T, test func(t *testing.T, b *bench)) {
	pg := servers.PostgreSQL(t)
	t.Run("direct", func(t *testing.T) { test(t, newBench(t, pg.NewDatabase(t))) })
	t.Run("pooled", func(t *testing.T) {
		bouncer := dbtest.PgBouncer(t, pg, "transaction")
		test(t, newBench(t, through(t, pg.NewDatabase(t), bouncer.Addr())+"&default_query_exec_mode=exec"))
	})
}

// Everything that handlers can do, mixed: each sees what came before it.
func TestHandleKeepsTheOrder(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		for round := range 3 { // prepared, and known
			b.exec("TRUNCATE t")
			require.NoError(t, b.step(waltz.ID(round-1), func(ctx context.Context, tx *Tx) error {
				for i := range 5 * pieceStatements {
					require.NoError(t, tx.Queue(ctx, "INSERT INTO t VALUES ($1, $2, $3)", i, 1, map[string]int{"a": i}))
				}
				var n int
				require.NoError(t, tx.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n))
				require.Equal(t, 5*pieceStatements, n)
				require.NoError(t, tx.Queue(ctx, "UPDATE t SET n = n + 1"))
				tag, err := tx.Exec(ctx, "UPDATE t SET n = n + 1 WHERE n = @n", pgx.NamedArgs{"n": 2})
				require.NoError(t, err)
				require.Equal(t, int64(5*pieceStatements), tag.RowsAffected())
				require.NoError(t, tx.Queue(ctx, "DELETE FROM t WHERE id > 2"))
				copied, err := tx.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "n"}, pgx.CopyFromRows([][]any{{int64(10), int64(10)}, {int64(11), int64(11)}}))
				require.NoError(t, err)
				require.Equal(t, int64(2), copied)
				rows, err := tx.Query(ctx, "SELECT id FROM t WHERE id > $1 ORDER BY id", 1)
				require.NoError(t, err)
				require.Nil(t, rows.Conn())
				ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
				require.NoError(t, err)
				require.Equal(t, []int64{2, 10, 11}, ids)
				var q pgx.Batch
				q.Queue("DELETE FROM t WHERE id = @id", pgx.NamedArgs{"id": 10})
				q.Queue("SELECT count(*) FROM t")
				q.Queue("SELECT id FROM t WHERE id < $1", 0)
				r := tx.SendBatch(ctx, &q)
				tag, err = r.Exec()
				require.NoError(t, err)
				require.Equal(t, int64(1), tag.RowsAffected())
				require.NoError(t, r.QueryRow().Scan(&n))
				require.Equal(t, 4, n)
				require.ErrorIs(t, r.QueryRow().Scan(&n), pgx.ErrNoRows)
				require.NoError(t, r.Close())
				require.ErrorIs(t, tx.QueryRow(ctx, "SELECT id FROM t WHERE id = 77").Scan(&n), pgx.ErrNoRows, "an answer, no error")
				return tx.Queue(ctx, "UPDATE t SET n = 100 WHERE id = 11")
			}))
			require.Equal(t, int64(4), b.count("SELECT count(*) FROM t"))
			require.Equal(t, int64(100), b.count("SELECT n FROM t WHERE id = 11"))
			require.Equal(t, int64(2), b.count("SELECT (x->>'a')::bigint FROM t WHERE id = 2"))
		}
	})
}

// F17, F18: nothing that takes the SQL transaction away gets to the server, by any
// method and in any disguise.
func TestHandleLetsNothingOut(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		for _, query := range []string{"COMMIT", "DROP TABLE t", "SELECT 1; COMMIT", "/* SELECT */ ROLLBACK", "PREPARE x AS SELECT 1"} {
			for name, use := range map[string]func(ctx context.Context, tx *Tx) error{
				"queue": func(ctx context.Context, tx *Tx) error { return tx.Queue(ctx, query) },
				"exec":  func(ctx context.Context, tx *Tx) error { _, err := tx.Exec(ctx, query); return err },
				"simple": func(ctx context.Context, tx *Tx) error {
					_, err := tx.Query(ctx, query, pgx.QueryExecModeSimpleProtocol) //nolint:sqlclosecheck // it is refused
					return err
				},
				"row": func(ctx context.Context, tx *Tx) error { return tx.QueryRow(ctx, query).Scan() },
				"batch": func(ctx context.Context, tx *Tx) error {
					var q pgx.Batch
					q.Queue(query)
					return tx.SendBatch(ctx, &q).Close()
				},
				"rewriter": func(ctx context.Context, tx *Tx) error { return tx.Queue(ctx, "SELECT 1", rewriter(query)) },
			} {
				err := b.step(waltz.None, use)
				var escape *applier.EscapeError
				require.ErrorAs(t, err, &escape, "%s by %s", query, name)
				require.Equal(t, waltz.None, b.mark())
			}
		}
		require.NoError(t, b.step(waltz.None, insert(1)))
	})
}

// rewriter makes another text of a statement.
type rewriter string

func (r rewriter) RewriteQuery(_ context.Context, conn *pgx.Conn, _ string, args []any) (string, []any, error) {
	if conn != nil {
		return "", nil, errors.New("the connection got out")
	}
	return string(r), args, nil
}

// The server itself takes one statement only, whatever the scanner would make of it.
func TestTwoStatementsAreRefusedByTheServer(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	err := b.step(waltz.None, func(ctx context.Context, tx *Tx) error {
		return tx.h.s.send(ctx, sent{}, "INSERT INTO t VALUES (1, 0); COMMIT", nil)
	})
	f, is := b.Fault(err)
	require.True(t, is)
	require.Equal(t, "42601", f.Code)
	require.Zero(t, b.count("SELECT count(*) FROM t"))
}

func TestOpenRows(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	require.NoError(t, b.step(waltz.None, func(ctx context.Context, tx *Tx) error {
		if err := insert(1)(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Query(ctx, "SELECT * FROM t") //nolint:sqlclosecheck // that is the point
		return err                                 // and leaves them open
	}))
	require.ErrorContains(t, b.step(0, func(ctx context.Context, tx *Tx) error {
		if _, err := tx.Query(ctx, "SELECT * FROM t"); err != nil { //nolint:sqlclosecheck // that is the point
			return err
		}
		return insert(2)(ctx, tx)
	}), "still open")
	require.NoError(t, b.step(0, insert(2)))
}

// More texts than a connection keeps.
func TestStatementsAreBounded(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		for round := range 2 {
			require.NoError(t, b.step(waltz.ID(round-1), func(ctx context.Context, tx *Tx) error {
				for i := range statementsMax + 50 {
					if err := tx.Queue(ctx, fmt.Sprintf("INSERT INTO t VALUES (%d, $1)", i+1000*round), i); err != nil {
						return err
					}
				}
				require.LessOrEqual(t, len(tx.h.s.ready), statementsMax)
				return nil
			}))
		}
		require.Equal(t, int64(2*statementsMax+100), b.count("SELECT count(*) FROM t"))
	})
}

// A statement much larger than a piece, and rows that are: nothing waits for another.
func TestLargeStatements(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	large := make([]byte, 3<<20)
	for i := range large {
		large[i] = 'a'
	}
	require.NoError(t, b.step(waltz.None, func(ctx context.Context, tx *Tx) error {
		for i := range 10 {
			if err := tx.Queue(ctx, "INSERT INTO t VALUES ($1, 0, to_jsonb($2::text)) RETURNING x", i, string(large)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.Equal(t, int64(10), b.count("SELECT count(*) FROM t WHERE length(x::text) > 3000000"))
}

// The end of a context ends a statement, and the connection with it.
func TestContextEndsAStep(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := b.Apply(ctx, &applier.Step[*Tx]{Ref: b.row.Ref, Old: waltz.None, New: 0, Owner: "me", Work: func(ctx context.Context, tx *Tx) error {
		return tx.Queue(ctx, "SELECT pg_sleep(60)")
	}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	f, is := b.Fault(err)
	require.True(t, is)
	require.Equal(t, applier.ClassBackOff, f.Class)
	require.NoError(t, b.step(waltz.None, insert(1)))
}

// A letter is kept whatever its words are.
func TestLettersTakeAnyText(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	odd := "\x00\xff\xfe'; --"
	require.NoError(t, b.Apply(t.Context(), &applier.Step[*Tx]{
		Ref: b.row.Ref, Old: waltz.None, New: 0, Owner: "me", Work: func(context.Context, *Tx) error { return nil },
		Keys: []applier.Key{{Key: odd, ID: 0}},
		Letters: []applier.Letter{{
			Committed: waltz.Committed{ID: 0, Header: 1, Data: []byte(odd), Key: odd, Time: time.UnixMicro(1)},
			State:     applier.LetterDead, Kind: odd, Class: "data", Text: odd,
		}},
	}))
	letters, err := b.List(t.Context(), b.row.Ref, applier.LetterQuery{After: waltz.None, Limit: 10, Data: true})
	require.NoError(t, err)
	require.Len(t, letters, 1)
	require.Equal(t, []byte(odd), letters[0].Data)
	require.Equal(t, odd, letters[0].Key)
	require.Equal(t, time.UnixMicro(1).UTC(), letters[0].Time)
	require.Contains(t, letters[0].Text, "'; --")
}

// A key that an earlier transaction carried stays with that one, in one step and
// across steps, and the step's work is done once.
func TestKeysThatAreTaken(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		for i, keys := range [][]applier.Key{
			{{Key: "a", ID: 0}},
			{{Key: "b", ID: 1}, {Key: "a", ID: 1}, {Key: "b", ID: 1}},
			{{Key: "c", ID: 2}},
			{{Key: "a", ID: 3}, {Key: "d", ID: 3}},
		} {
			require.NoError(t, b.Apply(t.Context(), &applier.Step[*Tx]{
				Ref: b.row.Ref, Old: waltz.ID(i - 1), New: waltz.ID(i), Owner: "me", Transactions: 1, Keys: keys, Work: insert(i),
			}))
			if i == 0 {
				b.careful.Store(0) // by now it would be
			}
		}
		require.Equal(t, int64(4), b.count("SELECT count(*) FROM t"))
		require.Equal(t, int64(0*1+1*10+2*100+3*1000), b.count("SELECT sum(transaction_id * power(10, ascii(encode(business_key, 'escape')) - ascii('a')))::bigint FROM waltz_keys"))
		require.Positive(t, b.careful.Load())
	})
}

func TestSnapshotOfNothing(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	b.row.Number++
	require.ErrorIs(t, b.Snapshot(t.Context(), b.row.Ref, nil), pgx.ErrNoRows)
}
