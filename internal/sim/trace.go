package sim

import (
	"fmt"
	"strings"
)

// trace is what happened: always as a hash, so that two runs can be compared,
// and in words if somebody wants to read it.
type trace struct {
	hash  uint64
	words bool
	lines []string
}

const (
	hashStart = 14695981039346656037
	hashPrime = 1099511628211
)

func (t *trace) add(n uint64) { t.hash = (t.hash ^ n) * hashPrime }

// note adds one event: a format, and the numbers that it prints.
func (w *world) note(format string, args ...int64) {
	w.trace.add(uint64(len(format))<<8 | uint64(format[0]))
	for _, a := range args {
		w.trace.add(uint64(a))
	}
	if w.trace.words {
		list := make([]any, len(args))
		for i, a := range args {
			list[i] = a
		}
		w.trace.lines = append(w.trace.lines, fmt.Sprintf(format, list...))
	}
}

// remark adds words only, for what numbers can't tell. what is not called unless
// somebody reads.
func (w *world) remark(what func() string) {
	if w.trace.words {
		w.trace.lines = append(w.trace.lines, what())
	}
}

func (t *trace) String() string { return strings.Join(t.lines, "\n") }
