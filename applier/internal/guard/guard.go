// Package guard keeps a handler from taking the SQL transaction out of the
// framework's hands. A handle that is given to handlers has no Commit, Rollback
// or Begin in the first place; what is left is a statement's text, an
// error that the handler doesn't pass on, and a handle that outlives its call.
//
// Each of these would let the mark be committed without the data (I7): on
// MariaDB a duplicate key or a lock timeout undoes one statement and keeps the
// transaction, a deadlock ends it and leaves the connection in autocommit, and
// DDL commits it.
package guard

import (
	"fmt"

	"github.com/waltz-log/waltz/internal/mutant"
)

// EscapeError refuses a use of a handle.
type EscapeError struct{ What string }

func (e *EscapeError) Error() string { return "apply function " + e.What }

// Guard is the state of one handle. It is not for concurrent use: a handler
// that uses its handle from several goroutines breaks the order of the log.
type Guard struct {
	err   error
	ended bool
}

// Open is to be asked before every use.
func (g *Guard) Open() error {
	switch {
	case g.ended:
		return &EscapeError{"used its handle after it had returned"}
	case g.err != nil:
		return fmt.Errorf("an earlier statement of this SQL transaction failed, it will be rolled back: %w", g.err)
	}
	return nil
}

// Fail remembers the first error, and returns err.
func (g *Guard) Fail(err error) error {
	if g.err == nil {
		g.err = err
	}
	return err
}

// End ends the handle, and returns what must be done: the error that the handler
// returned, or the one that it swallowed.
func (g *Guard) End(returned error) error {
	g.ended = true
	if returned != nil || mutant.On("handler-error-swallowed") {
		return returned
	}
	return g.err
}
