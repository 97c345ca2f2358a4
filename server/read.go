package server

import (
	"context"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server/internal/partition"
)

const (
	readChunkBytes = 256 << 10
	// idGapMax is how many transactions that were not asked for are read along
	// rather than start another read behind them.
	idGapMax = 16
)

// Read implements the contract.
func (s *service) Read(r *clientpb.ReadRequest, stream grpc.ServerStreamingServer[clientpb.ReadResponse]) error {
	p, err := s.of(r.GetClusterKey(), r.GetPartition())
	if err == nil {
		err = s.checkRange(stream.Context(), p, r)
	}
	if err != nil {
		return wire.Status(err)
	}
	rd := reader{partition: p, headersOnly: r.GetHeadersOnly(), send: func(f record.Frame) error {
		return stream.SendMsg(&wire.Frames{f})
	}}
	if len(r.GetIds()) > 0 {
		return wire.Status(rd.ids(stream.Context(), r.GetIds()))
	}
	return wire.Status(rd.span(stream.Context(), txn.ID(r.GetFirst()), txn.ID(r.GetLast()), rd.all))
}

// checkRange refuses a malformed request, and one beyond the high-water mark.
func (s *service) checkRange(ctx context.Context, p *partition.Partition, r *clientpb.ReadRequest) error {
	first, last := r.GetFirst(), r.GetLast()
	if ids := r.GetIds(); len(ids) > 0 {
		if len(ids) > s.o.ReadIDsMax {
			return wire.Refuse(wire.Invalid, "%d transactions asked for by ID, at most %d are allowed", len(ids), s.o.ReadIDsMax)
		}
		for i := range ids[1:] {
			if ids[i+1] <= ids[i] {
				return wire.Refuse(wire.Invalid, "transaction IDs are not ascending: %d after %d", ids[i+1], ids[i])
			}
		}
		first, last = ids[0], ids[len(ids)-1]
	}
	if first < 0 || last < first-1 {
		return wire.Refuse(wire.Invalid, "read from transaction %d to %d", first, last)
	}
	hwm, err := p.Committed()
	if err == nil && txn.ID(last) > hwm {
		hwm, err = p.HighWaterMark(ctx)
	}
	if err != nil {
		return err
	}
	if txn.ID(last) > hwm {
		return wire.Refuse(wire.OutOfRange, "transaction %d was asked for, the high-water mark is %d", last, hwm)
	}
	return nil
}

// reader serves one Read.
type reader struct {
	partition   *partition.Partition
	headersOnly bool
	send        func(record.Frame) error
}

// span reads first..last in chunks and gives each to the sink.
func (r *reader) span(ctx context.Context, first, last txn.ID, sink func(record.Frame) error) error {
	for next := first; next <= last; {
		frame, err := r.partition.Read(ctx, next, last, readChunkBytes)
		if err != nil {
			return err
		}
		before := next
		for f := frame; len(f) > 0; f = f[f.TrustedLen():] {
			if f.TrustedID() != next {
				return wire.Refuse(wire.Corrupt, "read transaction %d where %d was due", f.TrustedID(), next)
			}
			next++
		}
		if next == before {
			return wire.Refuse(wire.Corrupt, "transaction %d is committed but could not be read", next)
		}
		if err := sink(frame); err != nil {
			return err
		}
	}
	return nil
}

// all sends a whole frame.
func (r *reader) all(f record.Frame) error {
	if !r.headersOnly {
		return r.send(f)
	}
	var out record.Frame
	for rec := range f.Trusted() {
		out = record.AppendWithoutData(out, &rec)
	}
	return r.send(out)
}

// ids sends the transactions with the given IDs, read in few spans.
func (r *reader) ids(ctx context.Context, ids []int64) error {
	for len(ids) > 0 {
		n := 1
		for n < len(ids) && ids[n]-ids[n-1] <= idGapMax {
			n++
		}
		wanted := ids[:n]
		err := r.span(ctx, txn.ID(ids[0]), txn.ID(ids[n-1]), func(f record.Frame) error {
			var out record.Frame
			wanted, out = r.pick(f, wanted)
			if len(out) == 0 {
				return nil
			}
			return r.send(out)
		})
		if err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// pick copies the wanted records of a frame, and returns what is still wanted.
func (r *reader) pick(f record.Frame, wanted []int64) ([]int64, record.Frame) {
	var out record.Frame
	for rec := range f.Trusted() {
		n := f.TrustedLen()
		if len(wanted) > 0 && int64(rec.ID) == wanted[0] {
			wanted = wanted[1:]
			if r.headersOnly {
				out = record.AppendWithoutData(out, &rec)
			} else {
				out = append(out, f[:n]...)
			}
		}
		f = f[n:]
	}
	return wanted, out
}
