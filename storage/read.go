package storage

import (
	"context"
	"fmt"
	"runtime"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/partition"
	"github.com/waltz-log/waltz/storage/internal/segment"
)

// Read returns whole records from first on, at most to last, at least one and as
// many more as are at hand and fit into bytesMax: go on behind what came. Only
// durable records are returned, and each was verified. The frame must not be
// changed. Errors: [ErrOutOfRange], [*DamagedError], [ErrNoReplica].
func (s *Storage) Read(ctx context.Context, p txn.Partition, first, last txn.ID, bytesMax int) (record.Frame, error) {
	return s.ReadInto(ctx, p, first, last, bytesMax, nil)
}

// ReadSlack is how much longer than bytesMax a buffer for ReadInto should be.
const ReadSlack = segment.ReadSlack

// ReadInto is Read with a buffer of the caller's. The frame is a part of it if the
// records came from segments and it is large enough, ReadSlack beyond bytesMax
// always is; else it is not touched. It saves the memory of large reads.
func (s *Storage) ReadInto(ctx context.Context, p txn.Partition, first, last txn.ID, bytesMax int, buf []byte) (record.Frame, error) {
	f, err := s.read(ctx, p, first, last, bytesMax, buf)
	if err != nil {
		return nil, fmt.Errorf("read transaction %d of partition %d: %w", first, p, err)
	}
	return f, nil
}

func (s *Storage) read(ctx context.Context, p txn.Partition, first, last txn.ID, bytesMax int, buf []byte) (record.Frame, error) {
	r, err := s.serves(p)
	if err != nil {
		return nil, err
	}
	return s.readReplica(ctx, r, first, last, bytesMax, buf)
}

// serves returns a partition's replica if it may be read.
func (s *Storage) serves(p txn.Partition) (*replica, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servesLocked(p)
}

func (s *Storage) readReplica(ctx context.Context, r *replica, first, last txn.ID, bytesMax int, buf []byte) (record.Frame, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		w, err := s.locate(r, first, last, bytesMax)
		if err != nil {
			return nil, err
		}
		f, err := s.readFrom(ctx, r, w, bytesMax, buf)
		if s.moved(r, w.moves, w.cuts, err) {
			continue // records went to the segments, or were cut, while we read
		}
		if err != nil {
			s.noteDamage(r, err, func() bool { return r.Moves != w.moves })
		}
		return f, err
	}
}

// where says where records are: in segments if chunks is empty.
type where struct {
	first, last txn.ID
	chunks      []partition.Chunk
	moves, cuts uint64
}

// locate finds records, within what is durable and not damaged.
func (s *Storage) locate(r *replica, first, last txn.ID, bytesMax int) (where, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first < 0 || last < first || first > r.Now.Last {
		if d, _ := r.DamageAt(first); d != nil {
			return where{}, d
		}
		if d := r.Closed; d != nil && d.First <= first && first <= d.Last {
			return where{}, d // may have been here
		}
		return where{}, fmt.Errorf("to %d, of 0 to %d: %w", last, r.Now.Last, ErrOutOfRange)
	}
	d, bad := r.DamageAt(first)
	if d != nil {
		return where{}, d
	}
	w := where{first: first, last: min(last, r.Now.Last, bad-1), moves: r.Moves, cuts: r.Cuts}
	if first <= r.InSegments {
		w.last = min(w.last, r.InSegments)
		return w, nil
	}
	size := 0
	for i := r.Find(first); i < len(r.Tail) && r.Tail[i].First <= w.last && size < bytesMax+1; i++ {
		c := r.Tail[i]
		if c.Frame == nil {
			size += c.Len
		} else {
			size += len(partition.Cut(c.Frame, max(first, c.First), c.Last))
		}
		w.chunks = append(w.chunks, c)
	}
	if len(w.chunks) == 0 {
		return where{}, fmt.Errorf("of 0 to %d: %w", r.Now.Last, ErrOutOfRange)
	}
	return w, nil
}

func (s *Storage) readFrom(ctx context.Context, r *replica, w where, bytesMax int, buf []byte) (record.Frame, error) {
	if len(w.chunks) == 0 {
		return s.readSegment(ctx, r, w, bytesMax, buf)
	}
	var all record.Frame
	for i, c := range w.chunks {
		f, err := s.frame(r.Now.Partition, c)
		if err != nil {
			if i > 0 {
				break // the caller meets it when it goes on
			}
			return nil, err
		}
		f = partition.Cut(f, max(w.first, c.First), min(w.last, c.Last))
		n := partition.Fit(f, bytesMax-len(all))
		if i == 0 {
			n = max(n, f.TrustedLen())
			if len(w.chunks) == 1 || n < len(f) {
				return f[:n:n], nil
			}
		}
		all = append(all, f[:n]...)
		if n < len(f) {
			break
		}
	}
	return all, nil
}

// bulkRead is from which size on a read waits for its turn.
const bulkRead = 128 << 10

// readSegment reads from segments. Large reads are those of replicas, subscribers
// and views that catch up; there are so many and so fast ones, and each of them
// keeps disk and processor busy for so long, that appends would have to wait
// behind them. So they take turns, and leave a processor free.
func (s *Storage) readSegment(ctx context.Context, r *replica, w where, bytesMax int, buf []byte) (record.Frame, error) {
	if bytesMax >= bulkRead {
		runtime.Gosched() // one that never waits would keep its processor for 10 ms from who must
		select {
		case s.bulk <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		defer func() { <-s.bulk }()
	}
	return r.log.ReadInto(w.first, w.last, bytesMax, buf)
}

// moved reports whether a read must be made again: it failed, or may have mixed
// two versions of the log, and the replica's records have moved since.
func (s *Storage) moved(r *replica, moves, cuts uint64, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.Cuts != cuts || err != nil && r.Moves != moves
}

// At returns the ID of the first record with at least the timestamp, the last
// one's ID + 1 if there is none. Errors are as Read's.
func (s *Storage) At(ctx context.Context, p txn.Partition, t txn.Timestamp) (txn.ID, error) {
	id, err := s.at(ctx, p, t)
	if err != nil {
		return txn.None, fmt.Errorf("find %v in partition %d: %w", t.Time(), p, err)
	}
	return id, nil
}

func (s *Storage) at(ctx context.Context, p txn.Partition, t txn.Timestamp) (txn.ID, error) {
	r, err := s.serves(p)
	if err != nil {
		return txn.None, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return txn.None, context.Cause(ctx)
		}
		s.mu.Lock()
		moves, cuts, inSegments, tail := r.Moves, r.Cuts, r.InSegments, append([]partition.Chunk(nil), r.Tail...)
		s.mu.Unlock()
		id, err := r.log.At(t, inSegments)
		if err == nil && id > inSegments {
			id, err = s.atTail(p, t, id, tail)
		}
		if s.moved(r, moves, cuts, err) {
			continue
		}
		return id, err
	}
}

// atTail looks for a timestamp in chunks; otherwise is the answer without them.
func (s *Storage) atTail(p txn.Partition, t txn.Timestamp, otherwise txn.ID, tail []partition.Chunk) (txn.ID, error) {
	for _, c := range tail {
		f, err := s.frame(p, c)
		if err != nil {
			return txn.None, err
		}
		for rec := range partition.Cut(f, c.First, c.Last).Trusted() {
			if rec.Time >= t {
				return rec.ID, nil
			}
			otherwise = rec.ID + 1
		}
	}
	return otherwise, nil
}

// State returns what a partition's replica would promise now, without
// promising anything. It is durable.
func (s *Storage) State(p txn.Partition) (session.Promise, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.replicaLocked(p)
	if err != nil {
		return session.Promise{}, err
	}
	return r.Now.Promise(), nil
}
