package postgres

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
)

// readers are the connections that snapshots are read on.
//
// While snapshots wait for a connection, one whose snapshot has ended is passed on to
// the one that has waited longest, with its SQL transaction still open: the end of
// that goes out with the next beginning. So it costs no round trip, and no SQL transaction
// stays open for longer than it takes to pass it on. While none waits, a connection
// is put in order beside the one who has read, who goes on.
type readers struct {
	pool   *pgxpool.Pool
	places chan struct{}  // one token for each connection in use
	passed chan *reader   // not buffered: nobody waits, nothing is passed on
	ending sync.WaitGroup // for connections that are put in order; each for endTimeout at most
}

// reader is a connection for one snapshot after the other.
type reader struct {
	*session
	lease  *pgxpool.Conn
	passes int
}

// passesMax bounds how often a connection is passed on, so that the pool gets to see
// how old it is.
const passesMax = 256

func newReaders(pool *pgxpool.Pool) *readers {
	return &readers{pool: pool, places: make(chan struct{}, pool.Config().MaxConns), passed: make(chan *reader)}
}

// close waits for all snapshots.
func (r *readers) close() {
	r.pool.Close()
	r.ending.Wait()
}

// take waits for a connection, one that is passed on or one of the pool's.
func (r *readers) take(ctx context.Context, d *database) (*reader, error) {
	select {
	case passed := <-r.passed:
		passed.passes++
		return passed, nil
	case r.places <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := r.pool.Acquire(ctx)
	if err != nil {
		<-r.places
		return nil, connecting(err)
	}
	return &reader{session: d.session(c.Conn()), lease: c}, nil
}

// give passes a connection on if somebody waits, or ends its SQL transaction. It does
// not block.
func (r *readers) give(ctx context.Context, used *reader) {
	if used.passable() {
		select {
		case r.passed <- used:
			return
		default:
		}
	}
	r.ending.Go(func() {
		used.rollback(ctx)
		used.lease.Release()
		<-r.places
	})
}

// passable reports whether the next snapshot can begin where this one ends. Behind a
// pooler statements must be closed first.
func (r *reader) passable() bool {
	c := r.session.conn
	return !r.d.pooled && r.passes < passesMax && r.failed == nil && r.pipe == nil && !c.IsClosed() && !c.PgConn().IsBusy() && c.PgConn().TxStatus() == 'T'
}
