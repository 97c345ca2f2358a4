package feed

import (
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

// filter leaves out of frames what a subscriber did not ask for.
type filter struct {
	mode    Mode
	headers map[txn.Header]struct{}
}

func newFilter(o Options) filter {
	f := filter{mode: o.Mode, headers: make(map[txn.Header]struct{}, len(o.Headers))}
	for _, h := range o.Headers {
		f.headers[h] = struct{}{}
	}
	return f
}

// apply returns what is to be sent of a frame: the frame itself, or a part or
// copy of it. The given frame stays as it is.
func (f *filter) apply(frame record.Frame) record.Frame {
	switch f.mode {
	case Headers:
		return withoutData(frame)
	case Filtered:
		return f.matching(frame)
	}
	return frame
}

func withoutData(frame record.Frame) record.Frame {
	var out []byte
	for r := range frame.Trusted() {
		if out == nil {
			out = make([]byte, 0, min(len(frame), record.HeaderSize*(len(frame)/frame.TrustedLen()+1)))
		}
		out = record.AppendWithoutData(out, &r)
	}
	return out
}

// matching copies the records whose header is in the set; all of them together
// need no copy. Of the others those with a business key come without data: a
// view has to know every key of its partition, or one of them could commit twice.
func (f *filter) matching(frame record.Frame) record.Frame {
	var out []byte
	from, to := 0, 0 // the run of matching records that is not copied yet
	off := 0
	for r := range frame.Trusted() {
		off += frame[off:].TrustedLen()
		if _, ok := f.headers[r.Header]; ok {
			to = off
			continue
		}
		out = append(out, frame[from:to]...)
		from, to = off, off
		if len(r.Key) > 0 {
			out = record.AppendWithoutData(out, &r)
		}
	}
	if from == 0 {
		return frame[:to]
	}
	return append(out, frame[from:to]...)
}
