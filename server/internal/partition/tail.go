package partition

import (
	"context"
	"fmt"
	"sync"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// A partition is closed to all while its tail is read, and a storage that is asked
// for one message after the other is idle half of the time. So parts of the tail are
// read beside each other, and taken in order.
const (
	// tailChunkBytes is about what one message brings.
	tailChunkBytes = 1 << 20
	// tailPart is how many transactions a part has.
	tailPart = 1 << 12
	// tailParts is how many parts are read at a time; each holds two messages at most.
	tailParts = 4
)

// part is one part of the tail while it is read.
type part struct {
	first, last txn.ID
	got         chan chunk
}

// chunk is what one read of it brought; an error is the part's last.
type chunk struct {
	frame record.Frame
	err   error
}

// readTail calls take with the log from first to last, in order and verified, until
// it is read or can't be.
func readTail(ctx context.Context, session Session, first, last txn.ID, take func(record.Frame)) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	parts := make([]*part, 0, tailParts)
	for next := first; next <= last || len(parts) > 0; {
		for len(parts) < tailParts && next <= last {
			p := &part{first: next, last: min(next+tailPart-1, last), got: make(chan chunk, 1)}
			running.Go(func() { p.read(ctx, session) })
			parts, next = append(parts, p), p.last+1
		}
		for c := range parts[0].got {
			if c.err != nil {
				return c.err
			}
			take(c.frame)
		}
		parts = append(parts[:0], parts[1:]...)
	}
	return ctx.Err()
}

func (p *part) read(ctx context.Context, session Session) {
	defer close(p.got)
	for next := p.first; next <= p.last; {
		frame, err := session.Read(ctx, next, p.last, tailChunkBytes)
		whole := 0
		if err == nil {
			whole, next, err = verified(frame, next)
		}
		if whole > 0 && !p.give(ctx, chunk{frame: frame[:whole]}) {
			return
		}
		if err != nil {
			p.give(ctx, chunk{err: err})
			return
		}
	}
}

func (p *part) give(ctx context.Context, c chunk) bool {
	select {
	case p.got <- c:
		return true
	case <-ctx.Done():
		return false
	}
}

// verified returns how many bytes of a frame are whole records from next on, and
// the ID behind them, with what is wrong with the rest.
func verified(frame record.Frame, next txn.ID) (whole int, _ txn.ID, err error) {
	for r, err := range frame.All() {
		if err != nil {
			return whole, next, err
		}
		if r.ID != next {
			return whole, next, fmt.Errorf("transaction %d follows transaction %d", r.ID, next-1)
		}
		whole += frame[whole:].TrustedLen()
		next++
	}
	if whole == 0 {
		return 0, next, fmt.Errorf("transaction %d could not be read", next)
	}
	return whole, next, nil
}
