package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/waltz-log/waltz/internal/txn"
)

// Line is one line of a recording: the beginning of an op, the end of one, or
// a look, or a batch of a feed. A process writes a line before it calls and another when it has the
// answer, so that what it was doing when it was killed is known.
type Line struct {
	Begin *Op   `json:",omitempty"` // Returned, Outcome and ID are not set
	End   *End  `json:",omitempty"`
	Look  *Look `json:",omitempty"`
	Batch *Feed `json:",omitempty"` // what a feed gave next; its Mark is where the feed started
}

// End is how an op ended.
type End struct {
	Name     string
	Returned int64
	Outcome  Outcome
	ID       txn.ID
}

// Encode returns the line with its newline, to be written in one piece.
func (l Line) Encode() ([]byte, error) {
	b, err := json.Marshal(l)
	return append(b, '\n'), err
}

// Add reads the recording of one process into the history. A last line without
// a newline was being written when the process was killed, and is left out.
func (h *History) Add(r io.Reader) error {
	open := make(map[string]int)
	in := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read recording: %w", err)
		}
		var l Line
		if err := json.Unmarshal(bytes.TrimSpace(text), &l); err != nil {
			return fmt.Errorf("read recording: line %d: %w", n, err)
		}
		if err := h.add(l, open); err != nil {
			return fmt.Errorf("read recording: line %d: %w", n, err)
		}
	}
}

func (h *History) add(l Line, open map[string]int) error {
	switch {
	case l.Begin != nil:
		o := *l.Begin
		o.Returned, o.Outcome = Pending, Unknown
		open[o.Name] = len(h.Ops)
		h.Ops = append(h.Ops, o)
	case l.End != nil:
		i, begun := open[l.End.Name]
		if !begun {
			return fmt.Errorf("%q ends and never began", l.End.Name)
		}
		delete(open, l.End.Name)
		h.Ops[i].end(*l.End)
	case l.Batch != nil:
		h.addBatch(*l.Batch)
	case l.Look != nil:
		h.Looks = append(h.Looks, *l.Look)
	default:
		return errors.New("it says nothing")
	}
	return nil
}

func (o *Op) end(e End) { o.Returned, o.Outcome, o.ID = e.Returned, e.Outcome, e.ID }

// addBatch continues the feed of the same client, partition and start.
func (h *History) addBatch(b Feed) {
	for i := range h.Feeds {
		if f := &h.Feeds[i]; f.Client == b.Client && f.Partition == b.Partition && f.Mark == b.Mark {
			f.Entries, f.HighWaterMark = append(f.Entries, b.Entries...), b.HighWaterMark
			return
		}
	}
	h.Feeds = append(h.Feeds, b)
}
