package e2e

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz"
)

// recorder writes a worker's recording, line by line straight to the file:
// what was written survives SIGKILL.
type recorder struct {
	file  *os.File
	ended atomic.Int64
}

func newRecorder(path string) (*recorder, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	return &recorder{file: f}, nil
}

func (r *recorder) write(l history.Line) error {
	text, err := l.Encode()
	if err != nil {
		return err
	}
	_, err = r.file.Write(text)
	return err
}

// begin records a call before it is made.
func (r *recorder) begin(o history.Op) error {
	o.Invoked = now()
	return r.write(history.Line{Begin: &o})
}

// every is how many ended calls a worker reports with one line on stdout.
const every = 50

// end records an answer and, now and then, tells the test how far it is.
func (r *recorder) end(name string, id waltz.ID, err error) error {
	end := history.End{Name: name, Returned: now()}
	end.Outcome, end.ID = outcome(id, err)
	if end.Outcome == history.Unknown {
		return nil // as if it had never returned: it may still be committed
	}
	if err := r.write(history.Line{End: &end}); err != nil {
		return err
	}
	if n := r.ended.Add(1); n%every == 0 {
		fmt.Println("ended", n)
	}
	return nil
}

// outcome maps an answer of the client to the history's words (I8).
func outcome(id waltz.ID, err error) (history.Outcome, txn.ID) {
	if err == nil {
		return history.Committed, id
	}
	if conflict, is := errors.AsType[*waltz.LockConflictError](err); is {
		return history.Conflict, conflict.TransactionID
	}
	if stale, is := errors.AsType[*waltz.StaleError](err); is {
		return history.Stale, stale.Floor
	}
	if _, is := errors.AsType[*waltz.UnknownError](err); is {
		return history.Unknown, 0
	}
	return history.Refused, 0
}

// entryOf is a committed transaction as the history has it.
func entryOf(c *waltz.Committed) history.Entry {
	return history.Entry{
		ID: c.ID, Header: c.Header, Time: txn.TimestampOf(c.Time), Key: c.Key, Data: c.Data, Skipped: c.Skipped,
	}
}

func hashes(locks []waltz.Lock) []txn.Lock {
	out := make([]txn.Lock, len(locks))
	for i, l := range locks {
		out[i] = txn.Lock{Hash: txn.HashLock(string(l.Name), l.ID), Mode: l.Mode}
	}
	return out
}
