package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/waltz"
)

// Bounds of what is on its way. When there is a piece of either size that was not
// sent yet, it is sent, and the answers to the piece before it are read: so the
// server works on one while the next is being made, and nothing grows (I9).
const (
	pieceStatements = 128
	pieceBytes      = 64 << 10
)

// endTimeout bounds how long an SQL transaction that failed is rolled back in good
// order, before the connection is thrown away.
const endTimeout = 5 * time.Second

// session is one SQL transaction on one connection, for one goroutine.
//
// Invariant: pipe is open while answers are due, those of sent[head:] in their order.
// Everything else on the connection (queries with rows, COPY) first waits for them.
type session struct {
	d     *database
	conn  *pgx.Conn
	ready map[string]*pgconn.StatementDescription // prepared, by text
	eqb   pgx.ExtendedQueryBuilder

	pipe  *pgconn.Pipeline // nil: no answers are due
	sent  []sent
	head  int
	fresh int // statements, and bytes, that were not sent yet
	bytes int

	failed error // the first of the server or the connection; a handler may return another

	tag   pgconn.CommandTag // of the last answer
	value int64             // of the last answer to a wantValue
	other int64             // its second column; none if it has none, or NULL
}

// sent is a statement whose answer is due.
type sent struct {
	what want
	rows int64
}

type want int

const (
	wantAny   want = iota
	wantMark       // the compare-and-set: an error of its own making says that it was lost
	wantRows       // as many rows, or somebody was faster
	wantValue      // one row of an integer, or two
	wantSync       // the end of a piece
	wantKeys       // keys that are new: an error that says otherwise is no error of the data
)

// Errors that are answers: the compare-and-set's own, and that of a key that is
// there.
const (
	lostCode  = "22012" // division_by_zero
	takenCode = "23505" // unique_violation
)

// open starts a pipeline if none is open.
func (s *session) open(ctx context.Context) error {
	if s.pipe != nil {
		return nil
	}
	if s.conn.PgConn().IsBusy() {
		return errors.New("rows of an earlier query are still open: close them first")
	}
	s.pipe = s.conn.PgConn().StartPipeline(ctx)
	return nil
}

// words sends a statement of ours that has no arguments and is not worth preparing.
func (s *session) words(ctx context.Context, sql string) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	s.pipe.SendQueryParams(sql, nil, nil, nil, nil)
	return s.push(sent{}, len(sql))
}

// send sends a statement, in the order of the calls.
func (s *session) send(ctx context.Context, w sent, sql string, args []any) error {
	sd, err := s.statement(ctx, sql)
	if err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	if err := s.eqb.Build(s.conn.TypeMap(), sd, args); err != nil {
		return fmt.Errorf("%w in %q", err, sql)
	}
	n := 0
	for _, v := range s.eqb.ParamValues {
		n += len(v)
	}
	s.pipe.SendQueryStatement(sd, s.eqb.ParamValues, s.eqb.ParamFormats, nil)
	return s.push(w, n)
}

func (s *session) push(w sent, bytes int) error {
	s.sent = append(s.sent, w)
	s.fresh++
	s.bytes += bytes
	if s.fresh < pieceStatements && s.bytes < pieceBytes {
		return nil
	}
	return s.advance()
}

// advance sends what there is, and reads the answers to what was sent before.
//
// A piece ends with Sync: in front of it the server would wait for the rest
// without a timeout, with the mark's row locked, if this process were stopped. Behind it,
// the SQL transaction is idle, and that ends (see timeouts). BEGIN makes it one
// SQL transaction nevertheless.
func (s *session) advance() error {
	if s.pipe == nil {
		return nil
	}
	if mutant.On("postgres-pieces-not-synced") {
		s.pipe.SendFlushRequest()
		return s.pipe.Flush()
	}
	s.sent = append(s.sent, sent{what: wantSync})
	s.fresh++
	if err := s.pipe.Sync(); err != nil {
		return s.broken(err)
	}
	keep := s.fresh
	s.fresh, s.bytes = 0, 0
	for len(s.sent)-s.head > keep {
		if err := s.next(); err != nil {
			return err
		}
	}
	s.sent = s.sent[:copy(s.sent, s.sent[s.head:])]
	s.head = 0
	return nil
}

// sync waits for all answers.
func (s *session) sync() error {
	if s.pipe == nil {
		return nil
	}
	if err := s.pipe.Sync(); err != nil {
		return s.broken(err)
	}
	for s.head < len(s.sent) {
		if err := s.next(); err != nil {
			return err
		}
	}
	if err := s.pipe.Close(); err != nil {
		return s.broken(err)
	}
	s.clear()
	return nil
}

func (s *session) clear() {
	s.pipe, s.sent, s.head, s.fresh, s.bytes = nil, s.sent[:0], 0, 0, 0
}

// next reads one answer.
func (s *session) next() error {
	w := s.sent[s.head]
	s.head++
	r, err := s.pipe.GetResults()
	if rows, is := r.(*pgconn.ResultReader); is && err == nil {
		if w.what == wantValue {
			s.value, s.other, err = values(rows)
		}
		tag, closed := rows.Close()
		if closed != nil {
			err = closed
		}
		s.tag = tag
	}
	if err == nil {
		err = w.judge(s.tag)
	}
	switch {
	case w.answers(err, wantMark, lostCode):
		err = applier.ErrLost
	case w.answers(err, wantKeys, takenCode):
		err = errKeyTaken
	}
	if err != nil {
		return s.broken(err)
	}
	return nil
}

// none is an integer that is not there, as waltz.None is an ID that is not.
const none = int64(waltz.None)

func values(rows *pgconn.ResultReader) (first, second int64, err error) {
	if !rows.NextRow() {
		return none, none, pgx.ErrNoRows
	}
	row := rows.Values()
	first, err = strconv.ParseInt(string(row[0]), 10, 64)
	if err != nil || len(row) < 2 || row[1] == nil {
		return first, none, err
	}
	second, err = strconv.ParseInt(string(row[1]), 10, 64)
	return first, second, err
}

// judge refuses an answer that is no error and still means that somebody was
// faster: a row that is not there.
func (w sent) judge(tag pgconn.CommandTag) error {
	if (w.what == wantMark || w.what == wantRows) && tag.RowsAffected() != w.rows && !mutant.On("postgres-cas-result-ignored") {
		return applier.ErrLost
	}
	return nil
}

// answers recognizes an error that is an answer to a statement of ours.
func (w sent) answers(err error, what want, code string) bool {
	p, is := errors.AsType[*pgconn.PgError](err)
	return is && w.what == what && p.Code == code
}

// broken ends the pipeline after an error: the server skips everything up to the
// next Sync.
func (s *session) broken(err error) error {
	if !s.conn.IsClosed() {
		_ = s.pipe.Sync() // the error that matters is err
	}
	_ = s.pipe.Close() // likewise
	s.clear()
	return s.trouble(err)
}

// trouble tells an error of the connection from one of a statement, and remembers
// the first.
func (s *session) trouble(err error) error {
	if err == nil {
		return nil
	}
	if _, is := errors.AsType[*pgconn.PgError](err); !is && s.conn.IsClosed() {
		err = &lostError{err}
	}
	if s.failed == nil {
		s.failed = err
	}
	return err
}

// begin sends the start of an SQL transaction.
func (s *session) begin(ctx context.Context, isolation string) error {
	if err := s.words(ctx, "BEGIN "+isolation); err != nil {
		return err
	}
	if s.d.local == "" {
		return nil
	}
	return s.words(ctx, s.d.local)
}

// still makes sure that the SQL transaction is open and has not failed, by what the
// server says at the end of each answer.
func (s *session) still() error {
	switch status := s.conn.PgConn().TxStatus(); status {
	case 'T':
		return nil
	case 'I':
		return applier.ErrImplicitCommit
	default:
		return applier.WithClass(applier.ClassBug, fmt.Errorf("before commit: an error was missed, the connection's status is %q", status))
	}
}

// commit ends the SQL transaction, all of whose answers have been read.
func (s *session) commit(ctx context.Context) error {
	if err := s.forget(ctx); err != nil {
		return err
	}
	if err := s.still(); err != nil && !mutant.On("postgres-status-unchecked") {
		return err
	}
	tag, err := command(ctx, s.conn, "COMMIT")
	if err == nil && tag.String() != "COMMIT" {
		return fmt.Errorf("commit: the server answered %s", tag)
	}
	if err != nil {
		return &commitError{s.trouble(err)}
	}
	return nil
}

// rollback ends it otherwise. A connection that can't is thrown away by the pool.
func (s *session) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if s.pipe != nil {
		_ = s.broken(applier.ErrLost)
	}
	if s.conn.IsClosed() {
		return
	}
	if err := s.forget(ctx); err == nil {
		_, _ = command(ctx, s.conn, "ROLLBACK") // or the server does
	}
}

// command runs words of ours in the simple protocol.
func command(ctx context.Context, conn *pgx.Conn, words string) (pgconn.CommandTag, error) {
	r, err := conn.PgConn().Exec(ctx, words).ReadAll()
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	return r[len(r)-1].CommandTag, r[len(r)-1].Err
}
