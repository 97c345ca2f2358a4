package postgres

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/waltz-log/waltz/internal/mutant"
)

// statementsMax bounds the prepared statements of a connection, and the
// descriptions that are kept for poolers.
const statementsMax = 256

// preparedKey finds the prepared statements of a connection.
const preparedKey = "waltz"

// prepared returns the statements that a connection keeps; behind a pooler they
// are those of one SQL transaction.
func (d *database) prepared(conn *pgx.Conn) map[string]*pgconn.StatementDescription {
	if d.pooled {
		return map[string]*pgconn.StatementDescription{}
	}
	data := conn.PgConn().CustomData()
	m, is := data[preparedKey].(map[string]*pgconn.StatementDescription)
	if !is {
		m = map[string]*pgconn.StatementDescription{}
		data[preparedKey] = m
	}
	return m
}

func (d *database) session(conn *pgx.Conn) *session {
	return &session{d: d, conn: conn, ready: d.prepared(conn)}
}

// statement finds or prepares a statement. The first time costs a round trip, for
// its arguments must be encoded as the server wants them.
func (s *session) statement(ctx context.Context, sql string) (*pgconn.StatementDescription, error) {
	if sd := s.ready[sql]; sd != nil {
		return sd, nil
	}
	if known := s.d.descriptions.get(sql); known != nil {
		return s.again(ctx, sql, known)
	}
	if err := s.sync(); err != nil {
		return nil, err
	}
	if len(s.ready) >= statementsMax {
		if err := s.evict(ctx); err != nil {
			return nil, err
		}
	}
	sd, err := s.conn.PgConn().Prepare(ctx, s.d.statementName(), sql, nil)
	if err != nil {
		return nil, s.trouble(err)
	}
	s.ready[sql] = sd
	if s.d.pooled {
		s.d.descriptions.put(sql, sd)
	}
	return sd, nil
}

// again prepares a statement whose description is known, without waiting. The
// types are named: what was described must be what is meant, even if a
// column's type has changed since.
func (s *session) again(ctx context.Context, sql string, known *pgconn.StatementDescription) (*pgconn.StatementDescription, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	sd := *known
	sd.Name = s.d.statementName()
	s.pipe.SendPrepare(sd.Name, sql, sd.ParamOIDs)
	s.ready[sql] = &sd
	return &sd, s.push(sent{}, len(sql))
}

// statementName is used once: behind a pooler others share the server's process.
func (d *database) statementName() string {
	return fmt.Sprintf("waltz_%s_%d", d.id, d.names.Add(1))
}

// evict makes room for one more statement: any, since whoever has more texts
// than fit makes them up as it goes.
func (s *session) evict(ctx context.Context) error {
	for sql, sd := range s.ready {
		delete(s.ready, sql)
		return s.trouble(s.conn.PgConn().Deallocate(ctx, sd.Name))
	}
	return nil
}

// forget closes what was prepared for this SQL transaction only, while it is still
// the server's process that has it.
func (s *session) forget(ctx context.Context) error {
	if !s.d.pooled || len(s.ready) == 0 || mutant.On("postgres-statements-left-behind") {
		return nil
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	for _, sd := range s.ready {
		s.pipe.SendDeallocate(sd.Name)
		s.sent = append(s.sent, sent{})
	}
	clear(s.ready)
	return s.sync()
}

// descriptions remember what the server said about statements.
type descriptions struct {
	mu    sync.Mutex
	known map[string]*pgconn.StatementDescription
}

func (d *descriptions) get(sql string) *pgconn.StatementDescription {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[sql]
}

func (d *descriptions) put(sql string, sd *pgconn.StatementDescription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= statementsMax {
		d.known = map[string]*pgconn.StatementDescription{}
	}
	d.known[sql] = sd
}

// reset forgets all: a table was altered.
func (d *descriptions) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = nil
}
